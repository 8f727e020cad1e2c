#include "loaders/chat_template/value.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>

#include "loaders/chat_template/python_text.h"

namespace mora::jinja {
namespace {

constexpr int kMaxDepth = 150;  // containers in containers: printing and comparing them is recursive

int depth_of(const Value& value) {
  if (const List* list = value.list()) return list->depth + 1;
  if (const Dict* dict = value.dict()) return dict->depth + 1;
  return 0;
}

int checked(int depth) {
  if (depth > kMaxDepth) throw EvalError{fmt::format("values nested more than {} deep", kMaxDepth)};
  return depth;
}

bool equal_items(const List& a, const List& b, Budget& budget) {
  return a.tuple == b.tuple && std::equal(a.items.begin(), a.items.end(), b.items.begin(), b.items.end(),
                                          [&](const Value& x, const Value& y) { return equal(x, y, budget); });
}

bool equal_entries(const Dict& a, const Dict& b, Budget& budget) {
  return a.items.size() == b.items.size() && std::all_of(a.items.begin(), a.items.end(), [&](const auto& entry) {
           const Value* other = b.find(entry.first);
           return other && equal(entry.second, *other, budget);
         });
}

std::string quoted(std::string_view text) {
  const bool single = text.find('\'') == std::string_view::npos || text.find('"') != std::string_view::npos;
  const char quote = single ? '\'' : '"';
  std::string out(1, quote);
  for (const char c : text) {
    if (c == quote || c == '\\') {
      out += '\\';
      out += c;
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '\r') {
      out += "\\r";
    } else if (c == '\t') {
      out += "\\t";
    } else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F) {
      out += fmt::format("\\x{:02x}", c);
    } else {
      out += c;
    }
  }
  return out += quote;
}

std::string scalar_repr(const Value& value) {
  if (value.is_undefined()) return "Undefined";
  if (value.is_none()) return "None";
  if (const bool* boolean = value.boolean()) return *boolean ? "True" : "False";
  if (const int64_t* integer = value.integer()) return std::to_string(*integer);
  if (const double* floating = value.floating()) return float_text(*floating);
  if (const std::string* text = value.string()) return quoted(*text);
  return fmt::format("<{}>", type_name(value));
}

// repr(), a value inside a printed list, behind `out`. Written piece by piece, so that the budget sees what a list that
// holds the same list many times grows to.
void append_repr(std::string& out, const Value& value, Budget& budget) {
  budget.step();
  const auto append = [&](std::string_view text) {
    budget.charge(text.size());
    out += text;
  };
  if (const List* list = value.list()) {
    append(list->tuple ? "(" : "[");
    for (size_t i = 0; i < list->items.size(); ++i) {
      if (i > 0) append(", ");
      append_repr(out, list->items[i], budget);
    }
    if (list->tuple && list->items.size() == 1) append(",");
    append(list->tuple ? ")" : "]");
  } else if (const Dict* dict = value.dict()) {
    append("{");
    for (size_t i = 0; i < dict->items.size(); ++i) {
      if (i > 0) append(", ");
      append(quoted(dict->items[i].first) + ": ");
      append_repr(out, dict->items[i].second, budget);
    }
    append("}");
  } else {
    append(scalar_repr(value));
  }
}

}  // namespace

Value::Value(List list) {
  for (const Value& item : list.items) list.depth = std::max(list.depth, depth_of(item));
  checked(list.depth);
  storage_ = std::make_shared<const List>(std::move(list));
}

Value::Value(Dict dict) {
  for (const auto& [key, value] : dict.items) dict.depth = std::max(dict.depth, depth_of(value));
  checked(dict.depth);
  storage_ = std::make_shared<const Dict>(std::move(dict));
}

Value::Value(Callable callable) : storage_(std::make_shared<const Callable>(std::move(callable))) {}

Value Value::undefined(std::string why) {
  Value value;
  value.storage_ = Undefined{std::move(why)};
  return value;
}

std::shared_ptr<Namespace> Value::shared_name_space() const {
  const auto* held = std::get_if<std::shared_ptr<Namespace>>(&storage_);
  return held ? *held : nullptr;
}

bool Value::is_number() const { return boolean() || integer() || floating(); }

const Value* Dict::find(std::string_view key) const {
  const auto place = places_.find(std::string(key));
  return place == places_.end() ? nullptr : &items[place->second].second;
}

void Dict::set(std::string key, Value value) {
  const auto [place, inserted] = places_.emplace(key, items.size());
  if (inserted) {
    items.emplace_back(std::move(key), std::move(value));
  } else {
    items[place->second].second = std::move(value);
  }
}

void Budget::charge(size_t bytes) {
  constexpr auto kMax = static_cast<size_t>(kMaxBytes);
  bytes_ += static_cast<int64_t>(std::min(bytes, kMax + 1));
  if (bytes_ > kMaxBytes) throw EvalError{fmt::format("the template makes more than {} MiB of text", kMaxBytes >> 20)};
}

std::string_view type_name(const Value& value) {
  if (value.is_undefined()) return "Undefined";
  if (value.is_none()) return "NoneType";
  if (value.boolean()) return "bool";
  if (value.integer()) return "int";
  if (value.floating()) return "float";
  if (value.string()) return "str";
  if (const List* list = value.list()) return list->tuple ? "tuple" : "list";
  if (value.dict()) return "dict";
  if (value.name_space()) return "Namespace";
  if (value.loop()) return "LoopContext";
  return "function";
}

bool truthy(const Value& value) {
  if (value.is_undefined() || value.is_none()) return false;
  if (const bool* boolean = value.boolean()) return *boolean;
  if (const int64_t* integer = value.integer()) return *integer != 0;
  if (const double* floating = value.floating()) return *floating != 0;
  if (const std::string* text = value.string()) return !text->empty();
  if (const List* list = value.list()) return !list->items.empty();
  if (const Dict* dict = value.dict()) return !dict->items.empty();
  return true;
}

bool equal(const Value& a, const Value& b, Budget& budget) {
  budget.step(a.string() ? a.string()->size() : 0);
  if (a.is_number() && b.is_number()) {
    if (!a.floating() && !b.floating()) return as_integer(a, "==") == as_integer(b, "==");
    return as_double(a, "==") == as_double(b, "==");
  }
  if (a.string() && b.string()) return *a.string() == *b.string();
  if (a.list() && b.list()) return equal_items(*a.list(), *b.list(), budget);
  if (a.dict() && b.dict()) return equal_entries(*a.dict(), *b.dict(), budget);
  if (a.is_none() || a.is_undefined()) return type_name(a) == type_name(b);
  if (a.name_space() || b.name_space()) return a.name_space() == b.name_space();
  if (a.callable() || b.callable()) return a.callable() == b.callable();
  return a.loop() && a.loop() == b.loop();
}

bool less(const Value& a, const Value& b, Budget& budget) {
  budget.step(a.string() ? a.string()->size() : 0);
  if (a.is_number() && b.is_number()) {
    if (!a.floating() && !b.floating()) return as_integer(a, "<") < as_integer(b, "<");
    return as_double(a, "<") < as_double(b, "<");
  }
  if (a.string() && b.string()) return *a.string() < *b.string();  // UTF-8 keeps the order of code points
  if (a.list() && b.list() && a.list()->tuple == b.list()->tuple)
    return std::lexicographical_compare(a.list()->items.begin(), a.list()->items.end(), b.list()->items.begin(),
                                        b.list()->items.end(),
                                        [&](const Value& x, const Value& y) { return less(x, y, budget); });
  if (a.missing()) throw EvalError{a.missing()->why};
  if (b.missing()) throw EvalError{b.missing()->why};
  throw EvalError{fmt::format("'{}' and '{}' have no order", type_name(a), type_name(b))};
}

bool contains(const Value& container, const Value& item, Budget& budget) {
  if (const std::string* text = container.string()) {
    budget.step(text->size());
    return text->find(as_string(item, "in a string")) != std::string::npos;
  }
  if (const List* list = container.list())
    return std::any_of(list->items.begin(), list->items.end(),
                       [&](const Value& each) { return equal(each, item, budget); });
  if (const Dict* dict = container.dict()) return item.string() && dict->find(*item.string());
  if (container.is_undefined()) return false;
  throw EvalError{fmt::format("nothing is in a value of type '{}'", type_name(container))};
}

int64_t length(const Value& value) {
  if (const std::string* text = value.string()) return static_cast<int64_t>(count_points(*text));
  if (const List* list = value.list()) return static_cast<int64_t>(list->items.size());
  if (const Dict* dict = value.dict()) return static_cast<int64_t>(dict->items.size());
  if (const Loop* loop = value.loop()) return static_cast<int64_t>(loop->items->size());
  if (value.is_undefined()) return 0;
  throw EvalError{fmt::format("a value of type '{}' has no length", type_name(value))};
}

std::vector<Value> iterate(const Value& value, Budget& budget) {
  std::vector<Value> items;
  if (const List* list = value.list()) {
    budget.charge_items(list->items.size());
    items = list->items;
  } else if (const Dict* dict = value.dict()) {
    budget.charge_items(dict->items.size());
    for (const auto& [key, entry] : dict->items) items.emplace_back(key);
  } else if (const std::string* text = value.string()) {
    budget.charge_items(2 * text->size());  // a value and a string each
    for (std::string_view rest = *text; !rest.empty(); rest.remove_prefix(point_bytes(rest)))
      items.emplace_back(rest.substr(0, point_bytes(rest)));
  } else if (!value.is_undefined()) {
    throw EvalError{fmt::format("a value of type '{}' has no items to go through", type_name(value))};
  }
  return items;
}

double as_double(const Value& value, std::string_view what) {
  if (const double* floating = value.floating()) return *floating;
  return static_cast<double>(as_integer(value, what));
}

int64_t as_integer(const Value& value, std::string_view what) {
  if (const int64_t* integer = value.integer()) return *integer;
  if (const bool* boolean = value.boolean()) return *boolean;
  if (value.missing()) throw EvalError{value.missing()->why};
  throw EvalError{fmt::format("{}: '{}' where a number is expected", what, type_name(value))};
}

const std::string& as_string(const Value& value, std::string_view what) {
  if (const std::string* text = value.string()) return *text;
  if (value.missing()) throw EvalError{value.missing()->why};
  throw EvalError{fmt::format("{}: '{}' where a string is expected", what, type_name(value))};
}

std::string to_text(const Value& value, Budget& budget) {
  const std::string* text = value.string();
  if (!text) {
    std::string out;
    if (!value.is_undefined()) append_repr(out, value, budget);
    return out;
  }
  budget.charge(text->size());
  return *text;
}

// The shortest decimal that reads back as the number; with an exponent below 1e-4 and from 1e16 on.
std::string float_text(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value > 0 ? "inf" : "-inf";
  const double size = std::abs(value);
  const bool scientific = size != 0 && (size < 1e-4 || size >= 1e16);
  char buffer[64];
  const auto end = std::to_chars(buffer, buffer + sizeof buffer, value,
                                 scientific ? std::chars_format::scientific : std::chars_format::fixed)
                       .ptr;
  std::string text(buffer, end);
  return scientific || text.find('.') != std::string::npos ? text : text + ".0";
}

}  // namespace mora::jinja
