#include "loaders/chat_template/operators.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "loaders/chat_template/python_text.h"

namespace mora::jinja {
namespace {

constexpr std::string_view symbol(BinaryOp op) {
  constexpr std::string_view kSymbols[] = {"+", "-", "*", "/", "//", "%", "**", "~", "and", "or"};
  return kSymbols[static_cast<size_t>(op)];
}

[[noreturn]] void fail_types(BinaryOp op, const Value& a, const Value& b) {
  if (a.missing()) throw EvalError{a.missing()->why};
  if (b.missing()) throw EvalError{b.missing()->why};
  throw EvalError{fmt::format("'{}' {} '{}' has no meaning", type_name(a), symbol(op), type_name(b))};
}

int64_t whole(bool overflow, int64_t value) {
  if (overflow) throw EvalError{"an integer beyond 64 bits"};
  return value;
}

int64_t power(int64_t base, int64_t exponent) {
  int64_t result = 1;
  for (bool overflow = false; exponent > 0; exponent >>= 1) {
    if (exponent & 1) overflow |= __builtin_mul_overflow(result, base, &result);
    if (exponent > 1) overflow |= __builtin_mul_overflow(base, base, &base);
    whole(overflow, 0);
  }
  return result;
}

// Rounds to minus infinity, and the remainder has the sign of b.
Value floor_division(BinaryOp op, int64_t a, int64_t b) {
  if (b == 0) throw EvalError{"division by zero"};
  if (b == -1) return op == BinaryOp::modulo ? int64_t{0} : whole(a == std::numeric_limits<int64_t>::min(), -a);
  const int64_t remainder = a % b;
  const bool step_down = remainder != 0 && (remainder < 0) != (b < 0);
  return op == BinaryOp::modulo ? remainder + (step_down ? b : 0) : a / b - (step_down ? 1 : 0);
}

Value integers(BinaryOp op, int64_t a, int64_t b) {
  int64_t result = 0;
  bool overflow = false;
  switch (op) {
    case BinaryOp::add: overflow = __builtin_add_overflow(a, b, &result); break;
    case BinaryOp::subtract: overflow = __builtin_sub_overflow(a, b, &result); break;
    case BinaryOp::multiply: overflow = __builtin_mul_overflow(a, b, &result); break;
    case BinaryOp::divide:
      if (b == 0) throw EvalError{"division by zero"};
      return static_cast<double>(a) / static_cast<double>(b);
    case BinaryOp::power:
      if (b < 0) return std::pow(static_cast<double>(a), static_cast<double>(b));
      return power(a, b);
    default: return floor_division(op, a, b);
  }
  return whole(overflow, result);
}

Value doubles(BinaryOp op, double a, double b) {
  switch (op) {
    case BinaryOp::add: return a + b;
    case BinaryOp::subtract: return a - b;
    case BinaryOp::multiply: return a * b;
    case BinaryOp::power: return std::pow(a, b);
    default: break;
  }
  if (b == 0) throw EvalError{"division by zero"};
  if (op == BinaryOp::divide) return a / b;
  if (op == BinaryOp::floor_divide) return std::floor(a / b);
  const double remainder = std::fmod(a, b);
  return remainder != 0 && (remainder < 0) != (b < 0) ? remainder + b : remainder;
}

Value repeat(const Value& sequence, int64_t times, Budget& budget) {
  const auto count = static_cast<size_t>(std::max<int64_t>(times, 0));
  const auto charge = [&](size_t size, size_t unit) {
    const size_t total =
        size != 0 && count > std::numeric_limits<size_t>::max() / size / unit ? SIZE_MAX : size * count * unit;
    budget.charge(total);
  };
  if (const std::string* text = sequence.string()) {
    charge(text->size(), 1);
    std::string out;
    for (size_t i = 0; i < count && !text->empty(); ++i) out += *text;
    return out;
  }
  const List& list = *sequence.list();
  charge(list.items.size(), sizeof(Value));
  List out{{}, list.tuple};
  for (size_t i = 0; i < count && !list.items.empty(); ++i)
    out.items.insert(out.items.end(), list.items.begin(), list.items.end());
  return out;
}

Value joined(const List& a, const List& b, Budget& budget) {
  budget.charge_items(a.items.size() + b.items.size());
  List out{a.items, a.tuple};
  out.items.insert(out.items.end(), b.items.begin(), b.items.end());
  return out;
}

bool is_sequence(const Value& value) { return value.string() || value.list(); }

// Python's slice.indices: where a slice of `size` items begins and how many steps it takes.
struct SliceRange {
  int64_t start, step, count;
};

SliceRange slice_range(int64_t size, const Value& start, const Value& stop, const Value& step_value) {
  const int64_t step = step_value.is_none() ? 1 : as_integer(step_value, "a slice");
  if (step == 0) throw EvalError{"the step of a slice is zero"};
  if (step == std::numeric_limits<int64_t>::min()) throw EvalError{"the step of a slice is too large"};
  const int64_t low = step > 0 ? 0 : -1, high = step > 0 ? size : size - 1;
  const auto bound = [&](const Value& value, int64_t otherwise) {
    if (value.is_none()) return otherwise;
    const int64_t at = as_integer(value, "a slice");
    return std::clamp(at < 0 ? at + size : at, low, high);
  };
  const int64_t first = bound(start, step > 0 ? low : high), last = bound(stop, step > 0 ? high : low);
  const int64_t distance = step > 0 ? last - first : first - last;
  const int64_t width = std::abs(step);
  return {first, step, distance <= 0 ? 0 : (distance - 1) / width + 1};
}

}  // namespace

Value arithmetic(BinaryOp op, const Value& a, const Value& b, Budget& budget) {
  if (op == BinaryOp::concatenate) return to_text(a, budget) + to_text(b, budget);
  if (a.is_number() && b.is_number()) {
    if (a.floating() || b.floating()) return doubles(op, as_double(a, symbol(op)), as_double(b, symbol(op)));
    return integers(op, as_integer(a, symbol(op)), as_integer(b, symbol(op)));
  }
  if (op == BinaryOp::add) {
    if (a.string() && b.string()) {
      budget.charge(a.string()->size() + b.string()->size());
      return *a.string() + *b.string();
    }
    if (a.list() && b.list() && a.list()->tuple == b.list()->tuple) return joined(*a.list(), *b.list(), budget);
  }
  if (op == BinaryOp::multiply) {
    const bool sequence_first = is_sequence(a);
    const Value &sequence = sequence_first ? a : b, &times = sequence_first ? b : a;
    if (is_sequence(sequence) && (times.integer() || times.boolean()))
      return repeat(sequence, as_integer(times, symbol(op)), budget);
  }
  fail_types(op, a, b);
}

Value arithmetic(UnaryOp op, const Value& a) {
  if (op == UnaryOp::logical_not) return !truthy(a);
  if (const double* floating = a.floating()) return op == UnaryOp::negate ? -*floating : *floating;
  const int64_t value = as_integer(a, op == UnaryOp::negate ? "-" : "+");
  return op == UnaryOp::negate ? integers(BinaryOp::subtract, 0, value) : Value(value);
}

bool compare(CompareOp op, const Value& a, const Value& b, Budget& budget) {
  switch (op) {
    case CompareOp::equal: return equal(a, b, budget);
    case CompareOp::not_equal: return !equal(a, b, budget);
    case CompareOp::less: return less(a, b, budget);
    case CompareOp::less_equal: return less(a, b, budget) || equal(a, b, budget);
    case CompareOp::greater: return less(b, a, budget);
    case CompareOp::greater_equal: return less(b, a, budget) || equal(a, b, budget);
    case CompareOp::in: return contains(b, a, budget);
    case CompareOp::not_in: return !contains(b, a, budget);
  }
  return false;
}

Value slice(const Value& object, const Value& start, const Value& stop, const Value& step, Budget& budget) {
  if (object.missing()) throw EvalError{object.missing()->why};
  if (!is_sequence(object)) throw EvalError{fmt::format("a value of type '{}' has no slices", type_name(object))};
  const SliceRange range = slice_range(length(object), start, stop, step);
  if (const List* list = object.list()) {
    budget.charge_items(static_cast<size_t>(range.count));
    List out{{}, list->tuple};
    for (int64_t i = 0; i < range.count; ++i)
      out.items.push_back(list->items[static_cast<size_t>(range.start + i * range.step)]);
    return out;
  }
  const std::string& text = *object.string();
  budget.step(text.size());
  budget.charge(text.size());
  if (range.step == 1) return slice_points(text, range.start, range.start + range.count);
  budget.charge(text.size() * sizeof(size_t));
  const std::vector<size_t> offsets = point_offsets(text);
  std::string out;
  for (int64_t i = 0; i < range.count; ++i) {
    const auto at = static_cast<size_t>(range.start + i * range.step);
    out.append(text, offsets[at], offsets[at + 1] - offsets[at]);
  }
  return out;
}

}  // namespace mora::jinja
