// Methods of str, list and dict. As in transformers' sandbox, those that would change a value are refused.
#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "loaders/chat_template/builtins.h"
#include "loaders/chat_template/python_text.h"

namespace mora::jinja {
namespace {

using TextMethod = Value (*)(Budget&, const std::string&, const Arguments&);

Value as_list(std::vector<std::string> parts, Budget& budget) {
  budget.charge_items(2 * parts.size());
  List list;
  for (std::string& part : parts) list.items.emplace_back(std::move(part));
  return list;
}

template <bool left, bool right>
Value strip(Budget& budget, const std::string& text, const Arguments& arguments) {
  const Parameters p("strip", arguments, {"chars"}, 0);
  budget.charge(text.size());
  std::string_view rest = text;
  if (left) rest = strip_left(rest, p.string(0));
  if (right) rest = strip_right(rest, p.string(0));
  return rest;
}

template <auto cut>
Value split_text(Budget& budget, const std::string& text, const Arguments& arguments) {
  const Parameters p("split", arguments, {"sep", "maxsplit"}, 0);
  if (p.string(0) && p.string(0)->empty()) throw EvalError{"split: the separator is empty"};
  budget.charge(text.size() * (sizeof(Value) + sizeof(std::string)));
  return as_list(cut(text, p.string(0), p.integer(1, -1)), budget);
}

template <auto map>
Value mapped(Budget& budget, const std::string& text, const Arguments& arguments) {
  const Parameters none("a method without parameters", arguments, {}, 0);
  budget.charge(text.size());
  return map(text);
}

// startswith, endswith: a string, or a tuple of which one is enough.
template <bool at_start>
Value has_affix(Budget& budget, const std::string& text, const Arguments& arguments) {
  const Parameters p(at_start ? "startswith" : "endswith", arguments, {"affix"}, 1);
  const auto fits = [&](const Value& affix) {
    budget.step();
    const std::string& part = as_string(affix, at_start ? "startswith" : "endswith");
    return at_start ? text.starts_with(part) : text.ends_with(part);
  };
  const List* list = p[0]->list();
  return list ? std::any_of(list->items.begin(), list->items.end(), fits) : fits(*p[0]);
}

size_t occurrences(std::string_view text, std::string_view part) {
  if (part.empty()) return count_points(text) + 1;
  size_t count = 0;
  for (size_t at = 0; (at = text.find(part, at)) != std::string_view::npos; at += part.size()) ++count;
  return count;
}

Value replace_text(Budget& budget, const std::string& text, const Arguments& arguments) {
  const Parameters p("replace", arguments, {"old", "new", "count"}, 2);
  const std::string &from = as_string(*p[0], "replace"), &to = as_string(*p[1], "replace");
  budget.step(text.size());
  budget.charge(text.size());
  const size_t count = occurrences(text, from);
  budget.charge(to.empty() || count < SIZE_MAX / to.size() ? count * to.size() : SIZE_MAX);
  return replace(text, from, to, p.integer(2, -1));
}

template <bool last>
Value find_text(Budget& budget, const std::string& text, const Arguments& arguments) {
  const Parameters p("find", arguments, {"sub"}, 1);
  budget.step(text.size());
  const std::string& part = as_string(*p[0], "find");
  const size_t at = last ? text.rfind(part) : text.find(part);
  if (at == std::string::npos) return int64_t{-1};
  return static_cast<int64_t>(count_points(std::string_view(text).substr(0, at)));
}

Value count_text(Budget& budget, const std::string& text, const Arguments& arguments) {
  const Parameters p("count", arguments, {"sub"}, 1);
  budget.step(text.size());
  return static_cast<int64_t>(occurrences(text, as_string(*p[0], "count")));
}

Value join_text(Budget& budget, const std::string& text, const Arguments& arguments) {
  const Parameters p("join", arguments, {"items"}, 1);
  std::string out;
  bool first = true;
  for (const Value& item_value : iterate(*p[0], budget)) {
    const std::string& part = as_string(item_value, "join");
    budget.charge(text.size() + part.size());
    if (!first) out += text;
    out += part;
    first = false;
  }
  return out;
}

Value lines_of(Budget& budget, const std::string& text, const Arguments& arguments) {
  const Parameters p("splitlines", arguments, {"keepends"}, 0);
  budget.charge(text.size() * (sizeof(Value) + sizeof(std::string)));
  return as_list(split_lines(text, p.flag(0, false)), budget);
}

template <auto is>
Value all_are(Budget& budget, const std::string& text, const Arguments&) {
  budget.step(text.size());
  for (std::string_view rest = text; !rest.empty(); rest.remove_prefix(point_bytes(rest)))
    if (!is(first_point(rest))) return false;
  return !text.empty();
}

bool is_alphanumeric(char32_t c) { return is_alpha(c) || is_digit(c); }

template <bool prefix>
Value remove_affix(Budget& budget, const std::string& text, const Arguments& arguments) {
  const Parameters p("removeprefix", arguments, {"affix"}, 1);
  budget.charge(text.size());
  const std::string& affix = as_string(*p[0], "removeprefix");
  std::string_view rest = text;
  if (prefix && rest.starts_with(affix)) rest.remove_prefix(affix.size());
  if (!prefix && rest.ends_with(affix)) rest.remove_suffix(affix.size());
  return rest;
}

constexpr std::pair<std::string_view, TextMethod> kTextMethods[] = {
    {"capitalize", mapped<capitalize>},
    {"count", count_text},
    {"endswith", has_affix<false>},
    {"find", find_text<false>},
    {"isalnum", all_are<is_alphanumeric>},
    {"isalpha", all_are<is_alpha>},
    {"isdigit", all_are<is_digit>},
    {"isspace", all_are<is_space>},
    {"join", join_text},
    {"lower", mapped<lower>},
    {"lstrip", strip<true, false>},
    {"removeprefix", remove_affix<true>},
    {"removesuffix", remove_affix<false>},
    {"replace", replace_text},
    {"rfind", find_text<true>},
    {"rsplit", split_text<split_right>},
    {"rstrip", strip<false, true>},
    {"split", split_text<split>},
    {"splitlines", lines_of},
    {"startswith", has_affix<true>},
    {"strip", strip<true, true>},
    {"title", mapped<title>},
    {"upper", mapped<upper>},
};

Value bind(const Value& self, const std::string& name, Value (*method)(Budget&, const Value&, const Arguments&)) {
  return Callable{
      name, [self, method](Budget& budget, const Arguments& arguments) { return method(budget, self, arguments); }};
}

Value dict_get(Budget&, const Value& self, const Arguments& arguments) {
  const Parameters p("get", arguments, {"key", "default"}, 1);
  const Value* found = p[0]->string() ? self.dict()->find(*p[0]->string()) : nullptr;
  return found ? *found : p[1] ? *p[1] : Value();
}

Value dict_items(Budget& budget, const Value& self, const Arguments&) {
  budget.charge_items(6 * self.dict()->items.size());
  List list;
  for (const auto& [key, value] : self.dict()->items) list.items.emplace_back(List{{Value(key), value}, true});
  return list;
}

Value dict_keys(Budget& budget, const Value& self, const Arguments&) { return List{iterate(self, budget)}; }

Value dict_values(Budget& budget, const Value& self, const Arguments&) {
  budget.charge_items(self.dict()->items.size());
  List list;
  for (const auto& [key, value] : self.dict()->items) list.items.push_back(value);
  return list;
}

Value dict_copy(Budget&, const Value& self, const Arguments&) { return self; }

Value list_count(Budget& budget, const Value& self, const Arguments& arguments) {
  const Parameters p("count", arguments, {"value"}, 1);
  const auto& items = self.list()->items;
  return static_cast<int64_t>(
      std::count_if(items.begin(), items.end(), [&](const Value& each) { return equal(each, *p[0], budget); }));
}

Value list_index(Budget& budget, const Value& self, const Arguments& arguments) {
  const Parameters p("index", arguments, {"value"}, 1);
  const auto& items = self.list()->items;
  const auto found =
      std::find_if(items.begin(), items.end(), [&](const Value& each) { return equal(each, *p[0], budget); });
  if (found == items.end()) throw EvalError{"index: the list has no such item"};
  return static_cast<int64_t>(found - items.begin());
}

void refuse_change(const Value& value, const std::string& name) {
  constexpr std::array<std::string_view, 13> kChanging = {"append",  "clear",       "extend",     "insert",     "pop",
                                                          "popitem", "remove",      "reverse",    "setdefault", "sort",
                                                          "update",  "__setitem__", "__delitem__"};
  if (std::find(kChanging.begin(), kChanging.end(), name) != kChanging.end())
    throw EvalError{fmt::format("'{}' would change a {}; values cannot be changed", name, type_name(value))};
}

}  // namespace

std::optional<Value> find_method(const Value& value, const std::string& name) {
  if (value.string()) {
    const auto* found = std::find_if(std::begin(kTextMethods), std::end(kTextMethods),
                                     [&](const auto& each) { return each.first == name; });
    if (found == std::end(kTextMethods)) return std::nullopt;
    return Callable{name, [value, method = found->second](Budget& budget, const Arguments& arguments) {
                      return method(budget, *value.string(), arguments);
                    }};
  }
  if (value.dict()) {
    if (name == "get") return bind(value, name, dict_get);
    if (name == "items") return bind(value, name, dict_items);
    if (name == "keys") return bind(value, name, dict_keys);
    if (name == "values") return bind(value, name, dict_values);
    if (name == "copy") return bind(value, name, dict_copy);
  }
  if (value.list()) {
    if (name == "count") return bind(value, name, list_count);
    if (name == "index") return bind(value, name, list_index);
  }
  if (value.list() || (value.dict() && !value.dict()->find(name))) refuse_change(value, name);
  return std::nullopt;
}

}  // namespace mora::jinja
