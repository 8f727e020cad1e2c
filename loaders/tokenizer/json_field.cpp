#include "loaders/tokenizer/json_field.h"

#include <limits>

#include "loaders/quote.h"
#include "loaders/tokenizer/codepoint.h"
#include "loaders/utf8.h"

namespace mora::tokenizer {
namespace {

std::string shown(const nlohmann::json& value) {
  return value.is_structured() ? value.type_name()
                               : value.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

}  // namespace

JsonField JsonField::root(const nlohmann::json& value, std::string_view source) {
  JsonField field(value, std::string(source));
  field.is_root_ = true;
  return field;
}

void JsonField::require_object() const {
  if (!value_->is_object()) throw error("expected an object, found {}", value_->type_name());
}

JsonField JsonField::operator[](const char* key) const {
  require_object();
  const auto found = value_->find(key);
  if (found == value_->end()) throw error("'{}' is missing", key);
  return {*found, name_ + (is_root_ ? ": " : ".") + key};
}

std::optional<JsonField> JsonField::find(const char* key) const {
  require_object();
  const auto found = value_->find(key);
  if (found == value_->end() || found->is_null()) return std::nullopt;
  return (*this)[key];
}

JsonField JsonField::item(size_t i) const { return {(*value_)[i], fmt::format("{}[{}]", name_, i)}; }

size_t JsonField::items() const {
  if (!value_->is_array()) throw error("expected an array, found {}", value_->type_name());
  return value_->size();
}

std::string JsonField::text() const {
  if (!value_->is_string()) throw error("expected a string, found {}", value_->type_name());
  const auto& string = value_->get_ref<const std::string&>();
  if (valid_utf8_prefix(string) != string.size()) throw error("{} is not UTF-8", quote(string));
  return string;
}

bool JsonField::boolean() const {
  if (!value_->is_boolean()) throw error("expected true or false, found {}", value_->type_name());
  return value_->get<bool>();
}

std::optional<uint64_t> natural_number(const nlohmann::json& value) {
  if (!value.is_number_integer() || (!value.is_number_unsigned() && value.get<int64_t>() < 0)) return std::nullopt;
  return value.get<uint64_t>();
}

int32_t JsonField::id() const {
  const auto value = natural_number(*value_);
  if (!value || *value > std::numeric_limits<int32_t>::max()) {
    throw error("{} is not a token id; expected an integer from 0 to 2147483647", quote(shown(*value_)));
  }
  return static_cast<int32_t>(*value);
}

size_t JsonField::count() const {
  const auto value = natural_number(*value_);
  if (!value) throw error("{} is not an integer of at least 0", quote(shown(*value_)));
  return *value;
}

char32_t JsonField::character() const {
  const std::string string = text();
  if (string.empty() || utf8_length(string[0]) != string.size()) {
    throw error("{} is not one character", quote(string));
  }
  return codepoint_at(string, 0);
}

bool JsonField::boolean_or(const char* key, bool otherwise) const {
  const auto field = find(key);
  return field ? field->boolean() : otherwise;
}

std::string JsonField::text_or(const char* key, const std::string& otherwise) const {
  const auto field = find(key);
  return field ? field->text() : otherwise;
}

}  // namespace mora::tokenizer
