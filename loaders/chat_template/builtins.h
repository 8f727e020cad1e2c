// Filters, tests, methods and global functions: what templates can call without defining it.
#pragma once

#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "loaders/chat_template/value.h"

namespace mora::jinja {

using Filter = Value (*)(Budget&, const Value& input, const Arguments&);
using Test = bool (*)(Budget&, const Value& input, const Arguments&);

// nullptr for an unknown name.
Filter find_filter(std::string_view name);
Test find_test(std::string_view name);

// value.name: an entry of a dict, namespace or `loop`, or a method of the value's type; undefined if there is none. For
// value['name'] of a dict the entries come first, for value.name the methods, as in Jinja.
Value attribute(const Value& value, const std::string& name);
Value item(const Value& value, const Value& key, Budget& budget);

// Method `name` of a string, list or dict; nothing for an unknown one. EvalError for one that would change the value.
std::optional<Value> find_method(const Value& value, const std::string& name);

// range, namespace, dict, raise_exception, strftime_now.
const std::vector<std::pair<std::string, Value>>& global_functions();

// The text of a value as JSON, as Python's json.dumps writes it with ensure_ascii=False.
struct JsonStyle {
  std::optional<std::string> indent;  // repeated at each level; one line without
  std::string item_separator = ", ", key_separator = ": ";
  bool sort_keys = false;
};
std::string to_json(const Value& value, const JsonStyle& style, Budget& budget);

// A call's arguments laid out by name: parameters[i] is nullptr where the call leaves names[i] out. EvalError: too many
// arguments, an unknown name, one given twice, fewer than `required`.
class Parameters {
 public:
  Parameters(std::string_view callee, const Arguments& arguments, std::initializer_list<std::string_view> names,
             size_t required);
  const Value* operator[](size_t i) const { return values_[i]; }
  int64_t integer(size_t i, int64_t otherwise) const;
  bool flag(size_t i, bool otherwise) const;
  std::optional<std::string_view> string(size_t i) const;  // nothing where left out or none

 private:
  std::string_view callee_;
  std::vector<const Value*> values_;
};

}  // namespace mora::jinja
