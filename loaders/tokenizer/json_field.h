// A value inside a JSON file together with the name that errors call it by: "tokenizer.json: model.unk_token".
#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "engine/error.h"

namespace mora::tokenizer {

// An integer ≥ 0; nothing if the value is anything else.
std::optional<uint64_t> natural_number(const nlohmann::json& value);

class JsonField {
 public:
  JsonField(const nlohmann::json& value, std::string name) : value_(&value), name_(std::move(name)) {}

  // The whole of a file; its members are called "source: key", theirs "source: key.key".
  static JsonField root(const nlohmann::json& value, std::string_view source);

  const nlohmann::json& json() const { return *value_; }
  const std::string& name() const { return name_; }

  JsonField operator[](const char* key) const;           // IoError if there is none
  std::optional<JsonField> find(const char* key) const;  // nothing if it is absent or null
  JsonField item(size_t i) const;                        // of an array
  size_t items() const;                                  // of an array; IoError if this is none

  std::string text() const;
  bool boolean() const;
  int32_t id() const;          // a token id: an integer in [0, 2³¹)
  size_t count() const;        // an integer ≥ 0
  char32_t character() const;  // a string of one code point

  bool boolean_or(const char* key, bool otherwise) const;
  std::string text_or(const char* key, const std::string& otherwise) const;

  // What to throw about the value: "name: message".
  template <class... Args>
  IoError error(fmt::format_string<Args...> format, Args&&... args) const {
    return IoError(name_ + ": " + fmt::format(format, std::forward<Args>(args)...));
  }

 private:
  void require_object() const;

  const nlohmann::json* value_;
  std::string name_;
  bool is_root_ = false;
};

}  // namespace mora::tokenizer
