// Jinja's tests: what stands behind `is`.
#include <algorithm>

#include "loaders/chat_template/builtins.h"
#include "loaders/chat_template/operators.h"
#include "loaders/chat_template/python_text.h"

namespace mora::jinja {
namespace {

const Value& operand(const Arguments& arguments) {
  if (arguments.positional.size() != 1) throw EvalError{"a test that compares takes one argument"};
  return arguments.positional[0];
}

template <CompareOp op>
bool compares(Budget& budget, const Value& value, const Arguments& arguments) {
  return compare(op, value, operand(arguments), budget);
}

bool is_same(Budget&, const Value& value, const Arguments& arguments) {  // `is sameas true`
  const Value& other = operand(arguments);
  if (value.boolean() && other.boolean()) return *value.boolean() == *other.boolean();
  return value.is_none() && other.is_none();
}

int64_t remainder(const Value& value, int64_t by) {
  const int64_t number = as_integer(value, "a test of numbers");
  if (by == 0) throw EvalError{"division by zero"};
  return by == -1 ? 0 : number % by;
}

bool all_points(const Value& value, bool (*is)(char32_t), bool (*is_not)(char32_t), Budget& budget) {
  const std::string text = to_text(value, budget);
  bool any = false;
  for (std::string_view rest = text; !rest.empty(); rest.remove_prefix(point_bytes(rest))) {
    if (is_not(first_point(rest))) return false;
    any |= is(first_point(rest));
  }
  return any;
}

using V = const Value&;
using A = const Arguments&;

constexpr std::pair<std::string_view, Test> kTests[] = {
    {"!=", compares<CompareOp::not_equal>},
    {"<", compares<CompareOp::less>},
    {"<=", compares<CompareOp::less_equal>},
    {"==", compares<CompareOp::equal>},
    {">", compares<CompareOp::greater>},
    {">=", compares<CompareOp::greater_equal>},
    {"boolean", [](Budget&, V v, A) { return v.boolean() != nullptr; }},
    {"callable", [](Budget&, V v, A) { return v.callable() != nullptr; }},
    {"defined", [](Budget&, V v, A) { return !v.is_undefined(); }},
    {"divisibleby", [](Budget&, V v, A a) { return remainder(v, as_integer(operand(a), "divisibleby")) == 0; }},
    {"eq", compares<CompareOp::equal>},
    {"equalto", compares<CompareOp::equal>},
    {"even", [](Budget&, V v, A) { return remainder(v, 2) == 0; }},
    {"false", [](Budget&, V v, A) { return v.boolean() && !*v.boolean(); }},
    {"float", [](Budget&, V v, A) { return v.floating() != nullptr; }},
    {"ge", compares<CompareOp::greater_equal>},
    {"greaterthan", compares<CompareOp::greater>},
    {"gt", compares<CompareOp::greater>},
    {"in", compares<CompareOp::in>},
    {"integer", [](Budget&, V v, A) { return v.integer() != nullptr; }},
    {"iterable", [](Budget&, V v, A) { return v.string() || v.list() || v.dict() || v.is_undefined(); }},
    {"le", compares<CompareOp::less_equal>},
    {"lessthan", compares<CompareOp::less>},
    {"lower", [](Budget& b, V v, A) { return all_points(v, is_lower, is_upper, b); }},
    {"lt", compares<CompareOp::less>},
    {"mapping", [](Budget&, V v, A) { return v.dict() != nullptr; }},
    {"ne", compares<CompareOp::not_equal>},
    {"none", [](Budget&, V v, A) { return v.is_none(); }},
    {"number", [](Budget&, V v, A) { return v.is_number(); }},
    {"odd", [](Budget&, V v, A) { return remainder(v, 2) != 0; }},
    {"sameas", is_same},
    {"sequence", [](Budget&, V v, A) { return v.string() || v.list() || v.dict() || v.is_undefined(); }},
    {"string", [](Budget&, V v, A) { return v.string() != nullptr; }},
    {"true", [](Budget&, V v, A) { return v.boolean() && *v.boolean(); }},
    {"undefined", [](Budget&, V v, A) { return v.is_undefined(); }},
    {"upper", [](Budget& b, V v, A) { return all_points(v, is_upper, is_lower, b); }},
};

}  // namespace

Test find_test(std::string_view name) {
  const auto* found =
      std::find_if(std::begin(kTests), std::end(kTests), [&](const auto& each) { return each.first == name; });
  return found == std::end(kTests) ? nullptr : found->second;
}

}  // namespace mora::jinja
