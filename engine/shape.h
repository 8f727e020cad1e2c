// Shapes and strides: up to eight int64, inline.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>

#include "engine/error.h"

namespace mora {

inline constexpr int max_rank = 8;

// A short list of dimensions (or of strides). Value type, no allocation.
class Shape {
 public:
  Shape() = default;
  Shape(std::initializer_list<int64_t> dims) : Shape(std::span(dims.begin(), dims.size())) {}
  explicit Shape(std::span<const int64_t> dims) {
    require<ShapeError>(dims.size() <= max_rank, "a tensor has at most {} dimensions, not {}", max_rank, dims.size());
    for (int64_t d : dims) dims_[size_t(rank_++)] = d;
  }

  int rank() const { return rank_; }
  // Dimension i; negative i counts from the end. Throws ShapeError when out of range.
  int64_t operator[](int i) const { return dims_[size_t(index(i))]; }
  int64_t& operator[](int i) { return dims_[size_t(index(i))]; }
  // i in [0, rank), from i in [-rank, rank).
  int index(int i) const {
    const int wrapped = i < 0 ? i + rank_ : i;
    require<ShapeError>(wrapped >= 0 && wrapped < rank_, "dimension {} of a tensor of rank {}", i, rank_);
    return wrapped;
  }
  const int64_t* begin() const { return dims_.data(); }
  const int64_t* end() const { return dims_.data() + rank_; }
  void push_back(int64_t d) {
    require<ShapeError>(rank_ < max_rank, "a tensor has at most {} dimensions", max_rank);
    dims_[size_t(rank_++)] = d;
  }
  // The number of elements; 1 for rank 0. Throws ShapeError on a negative dimension or overflow.
  int64_t numel() const {
    int64_t n = 1;
    for (int64_t d : *this) {
      if (d < 0 || __builtin_mul_overflow(n, d, &n)) [[unlikely]]
        fail<ShapeError>("shape {} has no size", to_string());
    }
    return n;
  }
  bool operator==(const Shape&) const = default;  // dimensions beyond the rank are 0
  std::string to_string() const;                  // "(2, 3)"

 private:
  std::array<int64_t, max_rank> dims_{};
  int rank_ = 0;
};

using Strides = Shape;  // in elements

// Row-major strides of a contiguous tensor.
inline Strides contiguous_strides(const Shape& shape) {
  Strides strides = shape;
  int64_t step = 1;
  for (int i = shape.rank() - 1; i >= 0; --i) {
    strides[i] = step;
    step *= shape[i];
  }
  return strides;
}

// numpy broadcasting: dimensions align at the end, 1 stretches. Throws ShapeError that names `op` and both shapes.
Shape broadcast_shapes(const Shape& a, const Shape& b, std::string_view op);

}  // namespace mora

template <>
struct fmt::formatter<mora::Shape> {
  constexpr auto parse(fmt::format_parse_context& ctx) { return ctx.begin(); }
  auto format(const mora::Shape& s, fmt::format_context& ctx) const {
    return fmt::format_to(ctx.out(), "{}", s.to_string());
  }
};
