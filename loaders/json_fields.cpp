#include "loaders/json_fields.h"

#include <cmath>
#include <nlohmann/json.hpp>

#include "engine/error.h"
#include "loaders/quote.h"

namespace mora {

using nlohmann::json;

std::string describe(const json& value) {
  if (value.is_string()) return "the string " + quote(value.get_ref<const std::string&>());
  if (value.is_primitive()) return value.dump();
  return value.is_array() ? "an array" : "an object";
}

int64_t integer_in(const json& value, int64_t low, int64_t high, std::string_view place) {
  require<IoError>(value.is_number_integer(), "{}: expected an integer, got {}", place, describe(value));
  const bool fits = !value.is_number_unsigned() || value.get<uint64_t>() <= static_cast<uint64_t>(INT64_MAX);
  require<IoError>(fits && value.get<int64_t>() >= low && value.get<int64_t>() <= high,
                   "{}: expected an integer from {} to {}, got {}", place, low, high, value.dump());
  return value.get<int64_t>();
}

JsonFields::JsonFields(const json& object, std::string place) : object_(object), place_(std::move(place)) {
  require<IoError>(object.is_object(), "{}: expected an object, got {}", place_, describe(object));
}

const json* JsonFields::find(std::string_view key) const {
  const auto found = object_.find(key);
  return found == object_.end() || found->is_null() ? nullptr : &*found;
}

const json& JsonFields::require_member(std::string_view key) const {
  const json* found = find(key);
  require<IoError>(found != nullptr, "{}: {} is missing", place_, key);
  return *found;
}

int64_t JsonFields::integer(std::string_view key, int64_t low, int64_t high, std::optional<int64_t> otherwise) const {
  if (otherwise && !has(key)) return *otherwise;
  return integer_in(require_member(key), low, high, place(key));
}

double JsonFields::number(std::string_view key, double low, double high, std::optional<double> otherwise) const {
  if (otherwise && !has(key)) return *otherwise;
  const json& value = require_member(key);
  require<IoError>(value.is_number(), "{}: expected a number, got {}", place(key), describe(value));
  const double number = value.get<double>();
  require<IoError>(number >= low && number <= high, "{}: expected a number from {} to {}, got {}", place(key), low,
                   high, value.dump());
  return number;
}

bool JsonFields::boolean(std::string_view key, std::optional<bool> otherwise) const {
  if (otherwise && !has(key)) return *otherwise;
  const json& value = require_member(key);
  require<IoError>(value.is_boolean(), "{}: expected true or false, got {}", place(key), describe(value));
  return value.get<bool>();
}

std::string JsonFields::string(std::string_view key, std::optional<std::string> otherwise) const {
  if (otherwise && !has(key)) return *std::move(otherwise);
  const json& value = require_member(key);
  require<IoError>(value.is_string(), "{}: expected a string, got {}", place(key), describe(value));
  return value.get<std::string>();
}

std::vector<std::string> JsonFields::strings(std::string_view key) const {
  const json* value = find(key);
  if (!value) return {};
  require<IoError>(value->is_array(), "{}: expected an array of strings, got {}", place(key), describe(*value));
  std::vector<std::string> list;
  for (const json& item : *value) {
    require<IoError>(item.is_string(), "{}: expected strings, got {}", place(key), describe(item));
    list.push_back(item.get<std::string>());
  }
  return list;
}

std::string JsonFields::place(std::string_view key) const { return fmt::format("{}: {}", place_, key); }

}  // namespace mora
