// Element-wise functions of two floating tensors. Dimensions are merged first (kernels/strided.h); the innermost
// row of an operand is then dense, one number (broadcast), or strided: pieces of the last two are packed into a buffer
// in the first-level cache. maximum and minimum of a NaN are NaN, as numpy's.
#include "kernels/binary.h"

#include "kernels/cpu/elements.h"
#include "kernels/cpu/integers.h"
#include "kernels/strided.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/binary.cpp"
#include "kernels/cpu/foreach_target.h"
#include "kernels/cpu/simd.h"

HWY_BEFORE_NAMESPACE();
namespace mora::kernels::cpu::HWY_NAMESPACE {
namespace {

constexpr int64_t piece = 256;  // elements packed at a time

// An operand's piece of an innermost row, made dense: in place, or packed into a buffer.
template <class T>
class Operand {
 public:
  explicit Operand(int64_t stride) : stride_(stride) {}
  bool packs() const { return stride_ != 1; }
  void start_row(const T* row, int64_t count) {
    row_ = row;
    if (stride_ == 0) std::fill_n(buffer_, std::min(count, piece), *row);
  }
  // Elements [i, i + n) of the row, n ≤ piece if it packs.
  const T* dense(int64_t i, int64_t n) {
    if (stride_ == 1) return row_ + i;
    if (stride_ != 0) pack(row_ + i * stride_, stride_, buffer_, n);
    return buffer_;
  }

 private:
  int64_t stride_;
  const T* row_ = nullptr;
  T buffer_[piece];
};

// Calls f(a, b, index, count) over [begin, end), a and b dense.
template <class T, class F>
void with_operands(const StridedWalk<2>& walk, const T* a, const T* b, int64_t begin, int64_t end, F f) {
  Operand<T> u(walk.inner_stride(0)), v(walk.inner_stride(1));
  walk.rows(begin, end, [&](const std::array<int64_t, 2>& offsets, int64_t index, int64_t count) HWY_ATTR {
    u.start_row(a + offsets[0], count);
    v.start_row(b + offsets[1], count);
    const int64_t step = u.packs() || v.packs() ? piece : count;
    for (int64_t i = 0; i < count; i += step) {
      const int64_t n = std::min(step, count - i);
      f(u.dense(i, n), v.dense(i, n), index + i, n);
    }
  });
}

template <class D, class V>
HWY_INLINE V maximum(D, V a, V b) {
  return hn::IfThenElse(hn::Or(hn::Gt(a, b), hn::IsNaN(a)), a, b);
}
template <class D, class V>
HWY_INLINE V minimum(D, V a, V b) {
  return hn::IfThenElse(hn::Or(hn::Lt(a, b), hn::IsNaN(a)), a, b);
}

template <class T>
void binary_floating(const StridedWalk<2>& walk, const T* a, const T* b, T* y, int64_t begin, int64_t end, Binary f) {
  const Tag<T> d;
  using V = hn::Vec<Tag<T>>;
  const auto run = [&](auto g) HWY_ATTR {
    with_operands(walk, a, b, begin, end,
                  [&](const T* u, const T* v, int64_t index, int64_t n) HWY_ATTR { map(d, n, g, y + index, u, v); });
  };
  switch (f) {
    case Binary::add: return run([](V u, V v) HWY_ATTR { return hn::Add(u, v); });
    case Binary::sub: return run([](V u, V v) HWY_ATTR { return hn::Sub(u, v); });
    case Binary::mul: return run([](V u, V v) HWY_ATTR { return hn::Mul(u, v); });
    case Binary::div: return run([](V u, V v) HWY_ATTR { return hn::Div(u, v); });
    case Binary::maximum: return run([&](V u, V v) HWY_ATTR { return maximum(d, u, v); });
    case Binary::minimum: return run([&](V u, V v) HWY_ATTR { return minimum(d, u, v); });
  }
}

void binary_range(const StridedWalk<2>& walk, const Tensor& a, const Tensor& b, void* y, int64_t begin, int64_t end,
                  Binary f) {
  visit_floating(a.dtype(), "binary", [&](auto t) HWY_ATTR {
    using T = decltype(t);
    binary_floating(walk, a.data<T>(), b.data<T>(), static_cast<T*>(y), begin, end, f);
  });
}

void axpy_range(const Tensor& x, void* y, DType y_dtype, int64_t begin, int64_t end, double alpha) {
  visit_floating(x.dtype(), "axpy", [&](auto t) HWY_ATTR {
    visit_floating(y_dtype, "axpy", [&](auto u) HWY_ATTR {
      using X = decltype(t);
      using Y = decltype(u);
      const std::conditional_t<std::is_same_v<X, double>, Tag<double>, Tag<Y>> d;
      const auto scale = hn::Set(d, hn::TFromD<decltype(d)>(alpha));
      Y* out = static_cast<Y*>(y) + begin;
      map(
          d, end - begin, [&](auto a, auto b) HWY_ATTR { return hn::MulAdd(scale, a, b); }, out, x.data<X>() + begin,
          static_cast<const Y*>(out));
    });
  });
}

}  // namespace
}  // namespace mora::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mora::kernels::cpu {
namespace {

HWY_EXPORT(binary_range);
HWY_EXPORT(axpy_range);

}  // namespace

void binary(const Tensor& a, const Tensor& b, Tensor& y, Binary f) {
  invariant(a.shape() == y.shape() && b.shape() == y.shape() && y.is_contiguous() && a.dtype() == b.dtype() &&
                a.dtype() == y.dtype(),
            "binary: {} {} and {} {} into {} {}", a.shape(), name_of(a.dtype()), b.shape(), name_of(b.dtype()),
            y.shape(), name_of(y.dtype()));
  const StridedWalk<2> walk(y.shape(), {&a.strides(), &b.strides()});
  void* out = y.mutable_raw();
  if (!is_floating(a.dtype())) return binary_integer(walk, a, b, out, f);
  parallel_for(walk.numel, element_grain, [&](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(binary_range)(walk, a, b, out, begin, end, f);
  });
}

void axpy(const Tensor& x, Tensor& y, double alpha) {
  invariant(x.shape() == y.shape() && x.is_contiguous() && y.is_contiguous(), "axpy: {} into {}", x.shape(), y.shape());
  void* out = y.mutable_raw();
  parallel_for(x.numel(), element_grain, [&](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(axpy_range)(x, out, y.dtype(), begin, end, alpha);
  });
}

}  // namespace mora::kernels::cpu
#endif
