#include "loaders/dataset.h"

#include <glob.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <filesystem>

#include "engine/error.h"
#include "engine/random.h"
#include "loaders/nearest.h"
#include "loaders/permutation.h"
#include "loaders/record_format.h"

namespace mora {
namespace {

struct RecordStart {
  uint64_t offset, line;
};

const char* kind_name(Field::Kind kind) {
  switch (kind) {
    case Field::Kind::string: return "a string";
    case Field::Kind::integer:
    case Field::Kind::number: return "a number";
    case Field::Kind::boolean: return "a boolean";
    case Field::Kind::null: return "null";
    case Field::Kind::json: return "an array or object";
    case Field::Kind::missing: return "missing";
  }
  return "";
}

bool exists(const std::string& path) {
  std::error_code error;
  return std::filesystem::exists(path, error);
}

std::string_view trim(std::string_view text) {
  const size_t begin = text.find_first_not_of(" \t");
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(" \t") + 1 - begin);
}

}  // namespace

bool next_line(LineReader& lines, Record& record) {
  while (lines.next()) {
    if (lines.text().find_first_not_of(' ') == std::string_view::npos) continue;
    record.offset = lines.offset();
    record.line = lines.line();
    record.ended = !lines.end().empty();
    record.text.assign(lines.text());
    return true;
  }
  return false;
}

std::string excerpt(std::string_view text) {
  constexpr size_t kMax = 60;
  std::string out;
  for (const char c : text.substr(0, kMax)) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
      out += fmt::format("\\x{:02x}", c);
    } else {
      out += c;
    }
  }
  if (text.size() > kMax) {
    while (!out.empty() && (out.back() & 0x80) != 0) out.pop_back();  // no half characters
    out += "…";
  }
  return out;
}

std::string missing_column(std::string_view name, const std::vector<std::string>& names, std::string_view otherwise) {
  constexpr size_t kMaxListed = 20;
  std::string list;
  for (size_t i = 0; i < std::min(names.size(), kMaxListed); ++i) list += (i ? ", " : "") + excerpt(names[i]);
  if (names.size() > kMaxListed) list += fmt::format(" and {} more", names.size() - kMaxListed);
  const std::string nearest = nearest_name(name, names);
  return fmt::format("no column '{}'; there is {}; {}", excerpt(name), list.empty() ? "none" : list,
                     nearest.empty() ? otherwise : fmt::format("did you mean '{}'?", excerpt(nearest)));
}

std::unique_ptr<RecordFormat> open_format(const DataFile& file, const DataOptions& options) {
  std::string extension = std::filesystem::path(file.path()).extension().string();
  std::transform(extension.begin(), extension.end(), extension.begin(),
                 [](unsigned char c) { return std::tolower(c); });
  if (extension == ".tsv") return open_delimited(file, options, '\t');
  if (extension == ".csv") return open_delimited(file, options, ',');
  if (extension == ".jsonl") return open_jsonl(file, options);
  if (extension == ".txt") return open_text(file, options);
  fail<ConfigError>("{}: '{}' is no known data format; use .tsv, .csv, .jsonl or .txt", file.path(), extension);
}

std::vector<std::string> expand_files(const std::vector<std::string>& patterns) {
  std::vector<std::string> files;
  for (const std::string& pattern : patterns) {
    if (exists(pattern) || pattern.find_first_of("*?[") == std::string::npos) {
      files.push_back(pattern);
      continue;
    }
    glob_t found{};
    const int status = ::glob(pattern.c_str(), 0, nullptr, &found);
    if (status == 0) files.insert(files.end(), found.gl_pathv, found.gl_pathv + found.gl_pathc);
    ::globfree(&found);
    require<ConfigError>(status == 0, "no data file matches '{}'", pattern);
  }
  require<ConfigError>(!files.empty(), "no data file is given");
  return files;
}

std::vector<std::string> column_names(const std::vector<std::string>& files) {
  const DataFile file(expand_files(files).front());
  const auto format = open_format(file, {});
  LineReader lines(file, 0, 1);
  Record record;
  require<IoError>(format->next(lines, record), "{}: no rows", file.path());
  return format->names(record);
}

struct Dataset::Part {
  explicit Part(const std::string& path, const DataOptions& options) : file(path), format(open_format(file, options)) {
    LineReader lines(file, 0, 1);
    Record record;
    if (format->has_header()) format->next(lines, record);
    while (format->next(lines, record)) starts.push_back({record.offset, record.line});
    require<IoError>(!starts.empty(), "{}: no rows{}", path, format->has_header() ? " under the header line" : "");
  }

  DataFile file;
  std::unique_ptr<RecordFormat> format;
  std::vector<RecordStart> starts;
  int64_t first_row = 0;
};

Dataset::Dataset(DataOptions options) : options_(std::move(options)) {
  for (const std::string& path : expand_files(options_.files)) {
    parts_.push_back(std::make_unique<Part>(path, options_));
    parts_.back()->first_row = rows_;
    rows_ += static_cast<int64_t>(parts_.back()->starts.size());
  }
}

Dataset::Dataset(Dataset&&) noexcept = default;
Dataset& Dataset::operator=(Dataset&&) noexcept = default;
Dataset::~Dataset() = default;

const Dataset::Part& Dataset::part_of(int64_t row) const {
  require<ShapeError>(row >= 0 && row < rows_, "data set: row {} of {}", row, rows_);
  const auto behind = std::upper_bound(parts_.begin(), parts_.end(), row,
                                       [](int64_t at, const auto& part) { return at < part->first_row; });
  return **std::prev(behind);
}

Row Dataset::read(int64_t row) const {
  const Part& part = part_of(row);
  const size_t at = static_cast<size_t>(row - part.first_row);
  const RecordStart& start = part.starts[at];
  const uint64_t end = at + 1 < part.starts.size() ? part.starts[at + 1].offset : part.file.size();
  LineReader lines(part.file, start.offset, start.line, std::clamp<uint64_t>(end - start.offset, 64, 256 << 10));
  Record record;
  require<IoError>(part.format->next(lines, record) && record.line == start.line,
                   "{}:{}: the file changed while it was open", part.file.path(), start.line);
  return {where(row), part.format->decode(record)};
}

std::string Dataset::where(int64_t row) const {
  const Part& part = part_of(row);
  return fmt::format("{}:{}", part.file.path(), part.starts[static_cast<size_t>(row - part.first_row)].line);
}

const std::string& text_or_empty(const Row& row, size_t index) {
  const Field& field = row.fields[index];
  require<IoError>(field.kind == Field::Kind::string, "{}: column '{}' is {}, expected text", row.where, field.name,
                   kind_name(field.kind));
  return field.text;
}

const std::string& text_of(const Row& row, size_t index) {
  const std::string& text = text_or_empty(row, index);
  require<IoError>(!text.empty(), "{}: column '{}' is empty; give it text or remove the row", row.where,
                   row.fields[index].name);
  return text;
}

float target_of(const Row& row, size_t index) {
  const Field& field = row.fields[index];
  const std::string_view text = trim(field.text);
  const bool numeric =
      field.kind == Field::Kind::string || field.kind == Field::Kind::integer || field.kind == Field::Kind::number;
  require<IoError>(numeric && !text.empty(), "{}: column '{}' is {}, expected a number", row.where, field.name,
                   text.empty() ? "empty" : kind_name(field.kind));
  float value = 0;
  const char* first = text.data() + (text.starts_with('+') ? 1 : 0);
  const auto [end, error] = std::from_chars(first, text.data() + text.size(), value);
  require<IoError>(error == std::errc() && end == text.data() + text.size() && std::isfinite(value),
                   "{}: column '{}': '{}' is no finite number, which regression learns", row.where, field.name,
                   excerpt(text));
  return value;
}

RowSplit split_rows(int64_t rows, double valid_fraction, uint64_t seed) {
  require<ConfigError>(valid_fraction > 0 && valid_fraction < 1,
                       "data.valid_fraction: {}, expected a share between 0 and 1", valid_fraction);
  const auto aside = std::max<int64_t>(1, std::llround(static_cast<double>(rows) * valid_fraction));
  require<ConfigError>(aside < rows, "data.valid_fraction: {} of {} rows leaves none to train on", valid_fraction,
                       rows);
  std::vector<int64_t> order = permutation(rows, {.seed = seed, .purpose = Purpose::split});
  RowSplit split;
  split.valid.assign(order.begin(), order.begin() + aside);
  split.train.assign(order.begin() + aside, order.end());
  std::sort(split.valid.begin(), split.valid.end());
  std::sort(split.train.begin(), split.train.end());
  return split;
}

}  // namespace mora
