// The members of a JSON object with checked types and ranges: every error is one line `FILE: FIELD: what was expected`.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace mora {

// A view: the document outlives it. A member that is null counts as missing.
class JsonFields {
 public:
  // Throws IoError when `object` is none. `place` is the file, perhaps with the field that holds the object.
  JsonFields(const nlohmann::json& object, std::string place);

  bool has(std::string_view key) const { return find(key) != nullptr; }
  const nlohmann::json* find(std::string_view key) const;  // nullptr when missing
  const nlohmann::json& require_member(std::string_view key) const;

  // An integer in [low, high]; without `otherwise` the member must be there. "3", 3.0 and true are no integers.
  int64_t integer(std::string_view key, int64_t low, int64_t high, std::optional<int64_t> otherwise = {}) const;
  // A finite number in [low, high].
  double number(std::string_view key, double low, double high, std::optional<double> otherwise = {}) const;
  bool boolean(std::string_view key, std::optional<bool> otherwise = {}) const;
  std::string string(std::string_view key, std::optional<std::string> otherwise = {}) const;
  std::vector<std::string> strings(std::string_view key) const;  // missing: empty

  // "FILE: FIELD": the start of an error about a member.
  std::string place(std::string_view key) const;

 private:
  const nlohmann::json& object_;
  std::string place_;
};

// A value as an error shows it: 'abc', -3, an array, …
std::string describe(const nlohmann::json& value);

// An integer, by the same rules, of a value that is no member (an element of an array).
int64_t integer_in(const nlohmann::json& value, int64_t low, int64_t high, std::string_view place);

}  // namespace mora
