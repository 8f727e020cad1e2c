#include "engine/shape.h"

namespace mora {

std::string Shape::to_string() const {
  std::string text = "(";
  for (int i = 0; i < rank_; ++i) {
    if (i) text += ", ";
    text += std::to_string(dims_[size_t(i)]);
  }
  return text + ")";
}

Shape broadcast_shapes(const Shape& a, const Shape& b, std::string_view op) {
  const Shape& longer = a.rank() >= b.rank() ? a : b;
  const Shape& shorter = a.rank() >= b.rank() ? b : a;
  Shape result = longer;
  const int shift = longer.rank() - shorter.rank();
  for (int i = 0; i < shorter.rank(); ++i) {
    const int64_t x = longer[i + shift];
    const int64_t y = shorter[i];
    require<ShapeError>(x == y || x == 1 || y == 1, "{}: shapes {} and {} do not broadcast", op, a, b);
    result[i + shift] = x == 1 ? y : x;
  }
  return result;
}

}  // namespace mora
