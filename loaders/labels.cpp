#include "loaders/labels.h"

#include <algorithm>
#include <charconv>
#include <numeric>
#include <optional>
#include <set>

#include "engine/error.h"
#include "loaders/nearest.h"
#include "loaders/record_format.h"

namespace mora {
namespace {

std::optional<int64_t> whole_number(std::string_view text) {
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

// "0.5", "-3.0": what a column of regression targets holds.
bool is_fraction(std::string_view text) {
  return text.find('.') != std::string_view::npos && text.find_first_of("0123456789") != std::string_view::npos &&
         text.find_first_not_of("+-.0123456789") == std::string_view::npos;
}

const std::string& label_of(const Row& row, size_t index) {
  const Field& field = row.fields[index];
  const bool absent = field.kind == Field::Kind::null || field.kind == Field::Kind::missing || field.text.empty();
  require<IoError>(!absent, "{}: column '{}': the label is missing", row.where, field.name);
  require<IoError>(field.kind != Field::Kind::json, "{}: column '{}': a label is a string or a whole number, not {}",
                   row.where, field.name, excerpt(field.text));
  require<IoError>(field.kind != Field::Kind::number && !is_fraction(field.text),
                   "{}: column '{}': {} is no class label but a fraction; did you mean task: regression?", row.where,
                   field.name, excerpt(field.text));
  return field.text;
}

std::string list_of(const std::vector<std::string>& names) {
  constexpr size_t kMaxListed = 20;
  std::string list;
  for (size_t i = 0; i < std::min(names.size(), kMaxListed); ++i) list += (i ? ", '" : "'") + excerpt(names[i]) + "'";
  if (names.size() > kMaxListed) list += fmt::format(" and {} more", names.size() - kMaxListed);
  return list;
}

}  // namespace

LabelNames LabelNames::collect(const Dataset& data, size_t field) {
  std::set<std::string> found;
  std::optional<Field::Kind> kind;
  for (int64_t i = 0; i < data.size(); ++i) {
    const Row row = data.read(i);
    const std::string& label = label_of(row, field);
    require<IoError>(row.fields[field].kind == kind.value_or(row.fields[field].kind),
                     "{}: column '{}': {} is of another JSON type than the labels of the rows before", row.where,
                     row.fields[field].name, excerpt(label));
    kind = row.fields[field].kind;
    found.insert(label);
  }
  std::vector<std::string> names(found.begin(), found.end());
  if (std::all_of(names.begin(), names.end(), whole_number))
    std::stable_sort(names.begin(), names.end(),
                     [](const std::string& a, const std::string& b) { return *whole_number(a) < *whole_number(b); });
  return LabelNames(std::move(names));
}

LabelNames::LabelNames(std::vector<std::string> names) : names_(std::move(names)), by_name_(names_.size()) {
  require<ConfigError>(!names_.empty(), "id2label: no label is named");
  std::iota(by_name_.begin(), by_name_.end(), 0);
  std::sort(by_name_.begin(), by_name_.end(), [&](int32_t a, int32_t b) { return names_[a] < names_[b]; });
  const auto twice = std::adjacent_find(by_name_.begin(), by_name_.end(),
                                        [&](int32_t a, int32_t b) { return names_[a] == names_[b]; });
  require<ConfigError>(twice == by_name_.end(), "id2label: two classes are called '{}'",
                       twice == by_name_.end() ? "" : excerpt(names_[*twice]));
  words_ = std::none_of(names_.begin(), names_.end(), whole_number);
}

int32_t LabelNames::id_of(const Row& row, size_t field) const {
  const std::string& label = label_of(row, field);
  const auto found = std::lower_bound(by_name_.begin(), by_name_.end(), label,
                                      [&](int32_t id, const std::string& name) { return names_[id] < name; });
  if (found != by_name_.end() && names_[*found] == label) return *found;
  if (const auto id = whole_number(label); words_ && id) {
    require<IoError>(*id >= 0 && *id < size(),
                     "{}: column '{}': label {} is out of range, the classes are 0 to {} ({})", row.where,
                     row.fields[field].name, *id, size() - 1, list_of(names_));
    return static_cast<int32_t>(*id);
  }
  const std::string nearest = nearest_name(label, names_);
  fail<IoError>("{}: column '{}': unknown label '{}'; known are {}{}", row.where, row.fields[field].name,
                excerpt(label), list_of(names_), nearest.empty() ? "" : "; did you mean '" + excerpt(nearest) + "'?");
}

}  // namespace mora
