// .tsv (fields between tabs, no quoting) and .csv (RFC 4180).
#include <algorithm>
#include <charconv>
#include <optional>

#include "engine/error.h"
#include "loaders/record_format.h"
#include "loaders/utf8.h"

namespace mora {
namespace {

// "2" or "column 2": the field with that index, from 0.
std::optional<size_t> column_index(std::string_view name) {
  if (name.starts_with("column ")) name.remove_prefix(7);
  size_t index = 0;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), index);
  if (name.empty() || error != std::errc() || end != name.data() + name.size()) return std::nullopt;
  return index;
}

// Cuts one csv record, which may run over several lines, into fields.
class CsvRecord {
 public:
  CsvRecord(const DataFile& file, std::vector<std::string>& fields) : file_(file), fields_(fields) { open_field(); }

  void feed(std::string_view text, uint64_t line) {
    for (const char c : text) step(c, line);
  }
  bool quoted() const { return state_ == State::quoted; }
  uint64_t quote_line() const { return quote_line_; }
  void finish() { fields_.resize(count_); }

 private:
  enum class State { start, plain, quoted, closed };  // closed: behind a quote inside quotes

  void open_field() {
    if (count_ == fields_.size()) fields_.emplace_back();
    fields_[count_++].clear();
    state_ = State::start;
  }

  void step(char c, uint64_t line) {
    std::string& field = fields_[count_ - 1];
    if (state_ == State::quoted) {
      if (c == '"') {
        state_ = State::closed;
      } else {
        field += c;
      }
    } else if (c == ',') {
      open_field();
    } else if (c == '"' && state_ == State::start) {
      state_ = State::quoted;
      quote_line_ = line;
    } else if (state_ == State::closed) {
      require<IoError>(c == '"',
                       "{}:{}: field {}: '{}' behind the closing quote; inside quotes a quote is written twice",
                       file_.path(), line, count_, excerpt({&c, 1}));
      field += c;
      state_ = State::quoted;
    } else {
      field += c;
      state_ = State::plain;
    }
  }

  const DataFile& file_;
  std::vector<std::string>& fields_;
  size_t count_ = 0;
  State state_ = State::start;
  uint64_t quote_line_ = 0;
};

class Delimited : public RecordFormat {
 public:
  Delimited(const DataFile& file, const DataOptions& options, char delimiter)
      : file_(file), delimiter_(delimiter), wanted_(options.columns) {
    wanted_.insert(wanted_.end(), options.optional.begin(), options.optional.end());
    LineReader lines(file, 0, 1);
    Record first;
    if (next(lines, first)) find_columns(first, options.columns.size());
  }

  bool has_header() const override { return header_; }

  bool next(LineReader& lines, Record& record) const override {
    if (!next_line(lines, record)) return false;
    if (delimiter_ == ',') {
      read_csv(lines, record);
    } else {
      split(record);
    }
    if (width_ > 0) check_width(record);
    return true;
  }

  std::vector<Field> decode(Record& record) const override {
    std::vector<Field> fields;
    for (size_t i = 0; i < wanted_.size(); ++i) {
      if (places_[i] == kAbsent) {
        fields.push_back({wanted_[i], Field::Kind::missing, ""});
      } else {
        fields.push_back({wanted_[i], Field::Kind::string, replace_invalid_utf8(record.fields[places_[i]])});
      }
    }
    return fields;
  }

  std::vector<std::string> names(Record& record) const override {
    std::vector<std::string> names;
    for (const std::string& field : record.fields) names.push_back(replace_invalid_utf8(field));
    return names;
  }

 private:
  static constexpr size_t kAbsent = static_cast<size_t>(-1);

  void split(Record& record) const {
    size_t count = 0;
    std::string_view rest = record.text;
    for (size_t end = 0; end != std::string_view::npos; rest.remove_prefix(std::min(end + 1, rest.size()))) {
      end = rest.find(delimiter_);
      if (count == record.fields.size()) record.fields.emplace_back();
      record.fields[count++].assign(rest.substr(0, end));
    }
    record.fields.resize(count);
  }

  void read_csv(LineReader& lines, Record& record) const {
    CsvRecord csv(file_, record.fields);
    csv.feed(record.text, lines.line());
    size_t length = record.text.size();
    while (csv.quoted()) {
      csv.feed(lines.end(), lines.line());
      const bool more = lines.next();
      length += lines.text().size();
      require<IoError>(more && length <= LineReader::kMaxLine, "{}:{}: the quote that opens in this line never closes",
                       file_.path(), csv.quote_line());
      csv.feed(lines.text(), lines.line());
      record.ended = !lines.end().empty();
    }
    csv.finish();
  }

  void check_width(const Record& record) const {
    const size_t count = record.fields.size();
    if (count == width_) return;
    const char* fix = "";
    if (!record.ended && count < width_) {
      fix = "; the last record seems to be cut short";
    } else if (delimiter_ == ',') {
      fix = "; quote a field that has a comma in it";
    } else if (count > width_) {
      fix = "; a tab inside a text has to go, or write the data as .jsonl";
    }
    fail<IoError>("{}:{}: {} field{} where line {} has {}{}", file_.path(), record.line, count, count == 1 ? "" : "s",
                  first_line_, width_, fix);
  }

  // Decides whether the first record is a header, and where the wanted columns stand.
  void find_columns(Record& first, size_t required) {
    width_ = first.fields.size();
    first_line_ = first.line;
    const std::vector<std::string> header = names(first);
    const auto place = [&](const std::string& name) {
      const auto found = std::find(header.begin(), header.end(), name);
      return found == header.end() ? kAbsent : static_cast<size_t>(found - header.begin());
    };
    const auto by_name = [&](const std::string& name) { return place(name) != kAbsent; };
    header_ = wanted_.empty() || std::any_of(wanted_.begin(), wanted_.end(), by_name) ||
              !std::all_of(wanted_.begin(), wanted_.begin() + required, column_index);
    for (size_t i = 0; i < wanted_.size(); ++i) {
      size_t at = place(wanted_[i]);
      if (at == kAbsent) {
        const std::optional<size_t> index = column_index(wanted_[i]);
        require<IoError>(!index || *index < width_, "{}:{}: no column {}; it has {} (0 to {})", file_.path(),
                         first.line, wanted_[i], width_, width_ - 1);
        if (index) at = *index;
      } else {
        require<IoError>(std::count(header.begin(), header.end(), wanted_[i]) == 1,
                         "{}:{}: two columns are called '{}'", file_.path(), first.line, wanted_[i]);
      }
      require<IoError>(at != kAbsent || i >= required, "{}:{}: {}", file_.path(), first.line,
                       missing_column(wanted_[i], header, "a file without a header line is read by index (0, 1, …)"));
      places_.push_back(at);
    }
  }

  const DataFile& file_;
  char delimiter_;
  std::vector<std::string> wanted_;  // names of the columns asked for
  std::vector<size_t> places_;       // where each stands in a record
  bool header_ = true;
  size_t width_ = 0;         // fields a record; 0 until the first one is read
  uint64_t first_line_ = 1;  // the line of the record that set the width
};

}  // namespace

std::unique_ptr<RecordFormat> open_delimited(const DataFile& file, const DataOptions& options, char delimiter) {
  return std::make_unique<Delimited>(file, options, delimiter);
}

}  // namespace mora
