// Jinja's filters, with Jinja's defaults. Filters that look at text take str() of whatever they get.
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>

#include "loaders/chat_template/builtins.h"
#include "loaders/chat_template/python_text.h"

namespace mora::jinja {
namespace {

// An item's attribute by a dotted path: "function.name", "0".
Value by_path(const Value& item_value, std::string_view path, Budget& budget) {
  Value value = item_value;
  for (const std::string& part : split(path, ".", -1)) {
    int64_t index = 0;
    const auto [end, error] = std::from_chars(part.data(), part.data() + part.size(), index);
    const bool number = !part.empty() && error == std::errc() && end == part.data() + part.size();
    value = item(value, number ? Value(index) : Value(part), budget);
  }
  return value;
}

Value lower_if_text(const Value& value, bool case_sensitive) {
  return !case_sensitive && value.string() ? Value(lower(*value.string())) : value;
}

// What sort, unique, min and max compare: the item or its attribute, text without case.
Value sort_key(const Value& value, std::optional<std::string_view> path, bool case_sensitive, Budget& budget) {
  return lower_if_text(path ? by_path(value, *path, budget) : value, case_sensitive);
}

Arguments behind(const Arguments& arguments, size_t count) {
  Arguments rest{{}, arguments.named};
  rest.positional.assign(arguments.positional.begin() + static_cast<std::ptrdiff_t>(count), arguments.positional.end());
  return rest;
}

Value text_filter(Budget& budget, const Value& input, const Arguments& arguments, std::string_view name,
                  std::string (*map)(std::string_view)) {
  const Parameters none(name, arguments, {}, 0);
  return map(to_text(input, budget));
}

Value filter_upper(Budget& b, const Value& v, const Arguments& a) { return text_filter(b, v, a, "upper", upper); }
Value filter_lower(Budget& b, const Value& v, const Arguments& a) { return text_filter(b, v, a, "lower", lower); }
Value filter_capitalize(Budget& b, const Value& v, const Arguments& a) {
  return text_filter(b, v, a, "capitalize", capitalize);
}

// Unlike str.title, a word begins behind a space, a hyphen or an opening bracket only.
std::string title_words(std::string_view text) {
  std::string out;
  bool begins = true;
  for (; !text.empty(); text.remove_prefix(point_bytes(text))) {
    const std::string_view point = text.substr(0, point_bytes(text));
    out += begins ? upper(point) : lower(point);
    begins = is_space(first_point(point)) || std::string_view("-({[<").find(point) != std::string_view::npos;
  }
  return out;
}
Value filter_title(Budget& b, const Value& v, const Arguments& a) { return text_filter(b, v, a, "title", title_words); }

std::string escape_html(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&': out += "&amp;"; break;
      case '<': out += "&lt;"; break;
      case '>': out += "&gt;"; break;
      case '"': out += "&#34;"; break;
      case '\'': out += "&#39;"; break;
      default: out += c;
    }
  }
  return out;
}
Value filter_escape(Budget& b, const Value& v, const Arguments& a) {
  return text_filter(b, v, a, "escape", escape_html);
}

Value filter_string(Budget& budget, const Value& input, const Arguments&) { return to_text(input, budget); }

Value filter_trim(Budget& budget, const Value& input, const Arguments& arguments) {
  const Parameters p("trim", arguments, {"chars"}, 0);
  const std::string text = to_text(input, budget);
  return strip_right(strip_left(text, p.string(0)), p.string(0));
}

Value filter_length(Budget& budget, const Value& input, const Arguments&) {
  if (input.string()) budget.step(input.string()->size());
  return length(input);
}

Value filter_default(Budget&, const Value& input, const Arguments& arguments) {
  const Parameters p("default", arguments, {"default_value", "boolean"}, 0);
  const bool use = input.is_undefined() || (p.flag(1, false) && !truthy(input));
  return !use ? input : p[0] ? *p[0] : Value("");
}

Value filter_first(Budget& budget, const Value& input, const Arguments&) {
  const std::vector<Value> items = iterate(input, budget);
  return items.empty() ? Value::undefined("'first' of nothing") : items.front();
}

Value filter_last(Budget& budget, const Value& input, const Arguments&) {
  const std::vector<Value> items = iterate(input, budget);
  return items.empty() ? Value::undefined("'last' of nothing") : items.back();
}

Value filter_list(Budget& budget, const Value& input, const Arguments&) { return List{iterate(input, budget)}; }

Value filter_reverse(Budget& budget, const Value& input, const Arguments&) {
  std::vector<Value> items = iterate(input, budget);
  std::reverse(items.begin(), items.end());
  if (!input.string()) return List{std::move(items)};
  std::string out;
  for (const Value& item_value : items) out += *item_value.string();
  return out;
}

Value filter_join(Budget& budget, const Value& input, const Arguments& arguments) {
  const Parameters p("join", arguments, {"d", "attribute"}, 0);
  const std::string separator = p[0] ? to_text(*p[0], budget) : "";
  std::string out;
  bool first = true;
  for (const Value& value : iterate(input, budget)) {
    budget.charge(separator.size());
    if (!first) out += separator;
    out += to_text(p.string(1) ? by_path(value, *p.string(1), budget) : value, budget);
    first = false;
  }
  return out;
}

Value filter_replace(Budget& budget, const Value& input, const Arguments& arguments) {
  const Parameters p("replace", arguments, {"old", "new", "count"}, 2);
  const Value text = to_text(input, budget);
  const Value bound = *find_method(text, "replace");
  Arguments call{{to_text(*p[0], budget), to_text(*p[1], budget)}, {}};
  if (p[2] && !p[2]->is_none()) call.positional.push_back(*p[2]);
  return bound.callable()->call(budget, call);
}

Value filter_int(Budget& budget, const Value& input, const Arguments& arguments) {
  const Parameters p("int", arguments, {"default"}, 0);
  if (input.integer() || input.boolean()) return as_integer(input, "int");
  double value = 0;
  if (const double* floating = input.floating()) {
    value = *floating;
  } else {
    const std::string held = to_text(input, budget);
    const std::string_view text = strip_right(strip_left(held));
    const char *first = text.data() + text.starts_with('+'), *last = text.data() + text.size();
    int64_t whole = 0;
    if (const auto [end, error] = std::from_chars(first, last, whole); error == std::errc() && end == last)
      return whole;
    const auto [end, error] = std::from_chars(first, last, value);
    if (error != std::errc() || end != last) return p[0] ? *p[0] : Value(int64_t{0});
  }
  if (std::isfinite(value) && std::abs(value) < 0x1p63) return static_cast<int64_t>(value);
  return p[0] ? *p[0] : Value(int64_t{0});
}

Value filter_float(Budget& budget, const Value& input, const Arguments& arguments) {
  const Parameters p("float", arguments, {"default"}, 0);
  if (input.is_number()) return as_double(input, "float");
  const std::string held = to_text(input, budget);
  const std::string_view text = strip_right(strip_left(held));
  double value = 0;
  const char *first = text.data() + text.starts_with('+'), *last = text.data() + text.size();
  const auto [end, error] = std::from_chars(first, last, value);
  if (error == std::errc() && end == last) return value;
  return p[0] ? *p[0] : Value(0.0);
}

Value filter_abs(Budget&, const Value& input, const Arguments&) {
  if (const double* floating = input.floating()) return std::abs(*floating);
  const int64_t value = as_integer(input, "abs");
  if (value == INT64_MIN) throw EvalError{"an integer beyond 64 bits"};
  return std::abs(value);
}

Value filter_round(Budget&, const Value& input, const Arguments& arguments) {
  const Parameters p("round", arguments, {"precision", "method"}, 0);
  const double scale = std::pow(10.0, static_cast<double>(p.integer(0, 0)));
  const double scaled = as_double(input, "round") * scale;
  const std::string_view method = p.string(1).value_or("common");
  if (method == "ceil") return std::ceil(scaled) / scale;
  if (method == "floor") return std::floor(scaled) / scale;
  return std::nearbyint(scaled) / scale;  // halves go to the even neighbour
}

Value filter_items(Budget& budget, const Value& input, const Arguments&) {
  if (input.is_undefined()) return List{};
  if (!input.dict()) throw EvalError{fmt::format("items: a value of type '{}' is no dict", type_name(input))};
  return find_method(input, "items")->callable()->call(budget, {});
}

Value filter_dictsort(Budget& budget, const Value& input, const Arguments& arguments) {
  const Parameters p("dictsort", arguments, {"case_sensitive", "by", "reverse"}, 0);
  const size_t by = p.string(1).value_or("key") == "value" ? 1 : 0;
  const Value listed = filter_items(budget, input, {});
  std::vector<Value> items = listed.list()->items;
  const auto key = [&](const Value& pair) { return lower_if_text(pair.list()->items[by], p.flag(0, false)); };
  const auto before = [&](const Value& a, const Value& b) { return less(key(a), key(b), budget); };
  const bool reverse = p.flag(2, false);
  std::stable_sort(items.begin(), items.end(),
                   [&](const Value& a, const Value& b) { return reverse ? before(b, a) : before(a, b); });
  return List{std::move(items)};
}

Value filter_sort(Budget& budget, const Value& input, const Arguments& arguments) {
  const Parameters p("sort", arguments, {"reverse", "case_sensitive", "attribute"}, 0);
  std::vector<Value> items = iterate(input, budget);
  const auto key = [&](const Value& value) { return sort_key(value, p.string(2), p.flag(1, false), budget); };
  const auto before = [&](const Value& a, const Value& b) { return less(key(a), key(b), budget); };
  const bool reverse = p.flag(0, false);
  std::stable_sort(items.begin(), items.end(),
                   [&](const Value& a, const Value& b) { return reverse ? before(b, a) : before(a, b); });
  return List{std::move(items)};
}

Value filter_unique(Budget& budget, const Value& input, const Arguments& arguments) {
  const Parameters p("unique", arguments, {"case_sensitive", "attribute"}, 0);
  std::vector<Value> seen, kept;
  for (const Value& value : iterate(input, budget)) {
    Value key = sort_key(value, p.string(1), p.flag(0, false), budget);
    if (std::any_of(seen.begin(), seen.end(), [&](const Value& other) { return equal(other, key, budget); })) continue;
    seen.push_back(std::move(key));
    kept.push_back(value);
  }
  return List{std::move(kept)};
}

Value extreme(Budget& budget, const Value& input, const Arguments& arguments, bool largest) {
  const Parameters p(largest ? "max" : "min", arguments, {"case_sensitive", "attribute"}, 0);
  const std::vector<Value> items = iterate(input, budget);
  if (items.empty()) return Value::undefined("the largest or smallest of nothing");
  const auto key = [&](const Value& value) { return sort_key(value, p.string(1), p.flag(0, false), budget); };
  const Value* best = &items[0];
  for (const Value& value : items)
    if (largest ? less(key(*best), key(value), budget) : less(key(value), key(*best), budget)) best = &value;
  return *best;
}
Value filter_min(Budget& b, const Value& v, const Arguments& a) { return extreme(b, v, a, false); }
Value filter_max(Budget& b, const Value& v, const Arguments& a) { return extreme(b, v, a, true); }

Value filter_sum(Budget& budget, const Value& input, const Arguments& arguments) {
  const Parameters p("sum", arguments, {"attribute", "start"}, 0);
  double floating = p[1] ? as_double(*p[1], "sum") : 0;
  int64_t whole = p[1] && !p[1]->floating() ? as_integer(*p[1], "sum") : 0;
  bool all_whole = !p[1] || !p[1]->floating();
  for (const Value& each : iterate(input, budget)) {
    const Value value = p.string(0) ? by_path(each, *p.string(0), budget) : each;
    floating += as_double(value, "sum");
    all_whole = all_whole && !value.floating();
    if (all_whole && __builtin_add_overflow(whole, as_integer(value, "sum"), &whole))
      throw EvalError{"an integer beyond 64 bits"};
  }
  return all_whole ? Value(whole) : Value(floating);
}

Value filter_map(Budget& budget, const Value& input, const Arguments& arguments) {
  std::vector<Value> out;
  if (arguments.positional.empty()) {
    const Parameters p("map", arguments, {"attribute", "default"}, 1);
    for (const Value& each : iterate(input, budget)) {
      Value value = by_path(each, to_text(*p[0], budget), budget);
      out.push_back(value.is_undefined() && p[1] ? *p[1] : std::move(value));
    }
    return List{std::move(out)};
  }
  const std::string& name = as_string(arguments.positional[0], "map");
  const Filter filter = find_filter(name);
  if (!filter) throw EvalError{fmt::format("map: no filter is called '{}'", name)};
  const Arguments rest = behind(arguments, 1);
  for (const Value& each : iterate(input, budget)) {
    budget.step();
    out.push_back(filter(budget, each, rest));
  }
  return List{std::move(out)};
}

// select, reject, selectattr, rejectattr: the items that pass a test, or are true.
Value choose(Budget& budget, const Value& input, const Arguments& arguments, bool by_attribute, bool keep) {
  const size_t first = by_attribute ? 1 : 0;
  if (arguments.positional.size() < first) throw EvalError{"selectattr: the attribute's name is missing"};
  Test test = nullptr;
  if (arguments.positional.size() > first) {
    const std::string& name = as_string(arguments.positional[first], "select");
    test = find_test(name);
    if (!test) throw EvalError{fmt::format("select: no test is called '{}'", name)};
  }
  const Arguments rest = test ? behind(arguments, first + 1) : Arguments{};
  std::vector<Value> out;
  for (const Value& each : iterate(input, budget)) {
    budget.step();
    const Value value = by_attribute ? by_path(each, to_text(arguments.positional[0], budget), budget) : each;
    if ((test ? test(budget, value, rest) : truthy(value)) == keep) out.push_back(each);
  }
  return List{std::move(out)};
}
Value filter_select(Budget& b, const Value& v, const Arguments& a) { return choose(b, v, a, false, true); }
Value filter_reject(Budget& b, const Value& v, const Arguments& a) { return choose(b, v, a, false, false); }
Value filter_selectattr(Budget& b, const Value& v, const Arguments& a) { return choose(b, v, a, true, true); }
Value filter_rejectattr(Budget& b, const Value& v, const Arguments& a) { return choose(b, v, a, true, false); }

// The spaces that `indent` and json's `indent` mean by a number or a text.
std::string indentation(const Value& width, Budget& budget) {
  if (width.string()) return *width.string();
  const auto count = static_cast<size_t>(std::max<int64_t>(as_integer(width, "indent"), 0));
  budget.charge(count);
  return std::string(count, ' ');
}

Value filter_indent(Budget& budget, const Value& input, const Arguments& arguments) {
  const Parameters p("indent", arguments, {"width", "first", "blank"}, 0);
  const std::string indent = indentation(p[0] ? *p[0] : Value(int64_t{4}), budget);
  const bool first = p.flag(1, false), blank = p.flag(2, false);
  const std::vector<std::string> lines = split_lines(to_text(input, budget) + "\n", false);
  std::string out = first ? indent : "";
  for (size_t i = 0; i < lines.size(); ++i) {
    budget.charge(indent.size() + lines[i].size());
    if (i > 0) out += "\n" + (blank || !lines[i].empty() ? indent : "");
    out += lines[i];
  }
  return out;
}

Value filter_tojson(Budget& budget, const Value& input, const Arguments& arguments) {
  const Parameters p("tojson", arguments, {"ensure_ascii", "indent", "separators", "sort_keys"}, 0);
  JsonStyle style;
  if (p[1] && !p[1]->is_none()) {
    style.indent = indentation(*p[1], budget);
    style.item_separator = ',';
  }
  if (p[2] && !p[2]->is_none()) {
    const std::vector<Value> pair = iterate(*p[2], budget);
    if (pair.size() != 2) throw EvalError{"tojson: separators are two strings"};
    style.item_separator = as_string(pair[0], "tojson");
    style.key_separator = as_string(pair[1], "tojson");
  }
  style.sort_keys = p.flag(3, false);
  return to_json(input, style, budget);
}

Value filter_wordcount(Budget& budget, const Value& input, const Arguments&) {
  return static_cast<int64_t>(split(to_text(input, budget), std::nullopt, -1).size());
}

Value filter_safe(Budget&, const Value& input, const Arguments&) { return input; }

constexpr std::pair<std::string_view, Filter> kFilters[] = {
    {"abs", filter_abs},
    {"capitalize", filter_capitalize},
    {"count", filter_length},
    {"d", filter_default},
    {"default", filter_default},
    {"dictsort", filter_dictsort},
    {"e", filter_escape},
    {"escape", filter_escape},
    {"first", filter_first},
    {"float", filter_float},
    {"indent", filter_indent},
    {"int", filter_int},
    {"items", filter_items},
    {"join", filter_join},
    {"last", filter_last},
    {"length", filter_length},
    {"list", filter_list},
    {"lower", filter_lower},
    {"map", filter_map},
    {"max", filter_max},
    {"min", filter_min},
    {"reject", filter_reject},
    {"rejectattr", filter_rejectattr},
    {"replace", filter_replace},
    {"reverse", filter_reverse},
    {"round", filter_round},
    {"safe", filter_safe},
    {"select", filter_select},
    {"selectattr", filter_selectattr},
    {"sort", filter_sort},
    {"string", filter_string},
    {"sum", filter_sum},
    {"title", filter_title},
    {"tojson", filter_tojson},
    {"trim", filter_trim},
    {"unique", filter_unique},
    {"upper", filter_upper},
    {"wordcount", filter_wordcount},
};

}  // namespace

Filter find_filter(std::string_view name) {
  const auto* found =
      std::find_if(std::begin(kFilters), std::end(kFilters), [&](const auto& each) { return each.first == name; });
  return found == std::end(kFilters) ? nullptr : found->second;
}

}  // namespace mora::jinja
