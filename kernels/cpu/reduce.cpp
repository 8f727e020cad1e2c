// Reductions over any dimensions. Dimensions are merged into alternating kept and reduced groups; each reduced group is
// one pass (outer, reduced, inner) → (outer, inner):
//   inner = 1   a row is cut into chunks of 16384, each summed in four vectors of lanes
//   inner > 1   256 rows at a time are added into one
// and the partial results are reduced again the same way. The cuts depend on the shape alone, so the order of the
// additions, and with it each bit of the result, does not depend on the number of threads.
// A maximum over a NaN is NaN, as numpy's.
#include "kernels/reduce.h"

#include <cmath>
#include <limits>
#include <vector>

#include "kernels/checks.h"
#include "kernels/cpu/convert.h"
#include "kernels/cpu/elements.h"
#include "kernels/dimension_groups.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/reduce.cpp"
#include "kernels/cpu/foreach_target.h"
#include "kernels/cpu/simd.h"

HWY_BEFORE_NAMESPACE();
namespace mora::kernels::cpu::HWY_NAMESPACE {
namespace {

struct Sum {
  static constexpr double identity = 0;
  template <class V>
  HWY_INLINE V operator()(V a, V b) const {
    return hn::Add(a, b);
  }
  template <class C>
  static C scalar(C a, C b) {
    return a + b;
  }
};
struct Maximum {
  static constexpr double identity = -std::numeric_limits<double>::infinity();
  template <class V>
  HWY_INLINE V operator()(V a, V b) const {
    return hn::IfThenElse(hn::Or(hn::Gt(a, b), hn::IsNaN(a)), a, b);
  }
  template <class C>
  static C scalar(C a, C b) {
    return a > b || a != a ? a : b;
  }
};

// The lanes of v as one number: halves onto halves.
template <class F, class D>
HWY_INLINE hn::TFromD<D> fold(D d, hn::Vec<D> v) {
  HWY_ALIGN hn::TFromD<D> lane[hn::MaxLanes(d)];
  hn::Store(v, d, lane);
  for (size_t half = hn::Lanes(d) / 2; half > 0; half /= 2) {
    for (size_t i = 0; i < half; ++i) lane[i] = F::scalar(lane[i], lane[i + half]);
  }
  return lane[0];
}

template <class F, class T>
Compute<T> reduce_chunk(const T* x, int64_t n) {
  const Tag<T> d;
  const F f;
  const int64_t step = lanes(d);
  const auto identity = hn::Set(d, Compute<T>(F::identity));
  auto a0 = identity, a1 = identity, a2 = identity, a3 = identity;
  int64_t i = 0;
  for (; i + 4 * step <= n; i += 4 * step) {
    a0 = f(a0, load(d, x + i));
    a1 = f(a1, load(d, x + i + step));
    a2 = f(a2, load(d, x + i + 2 * step));
    a3 = f(a3, load(d, x + i + 3 * step));
  }
  for (; i + step <= n; i += step) a0 = f(a0, load(d, x + i));
  if (i < n) a1 = f(a1, hn::IfThenElse(hn::FirstN(d, size_t(n - i)), load(d, x + i, n - i), identity));
  return fold<F>(d, f(f(a0, a1), f(a2, a3)));
}

// y[c] = F over `rows` rows of x, `stride` apart, for c < columns.
template <class F, class T>
void reduce_rows(const T* x, int64_t rows, int64_t stride, Compute<T>* y, int64_t columns) {
  const Tag<T> d;
  const F f;
  std::fill_n(y, columns, Compute<T>(F::identity));
  int64_t r = 0;
  for (; r + 4 <= rows; r += 4, x += 4 * stride) {
    map(
        d, columns, [&](auto sum, auto a, auto b, auto c, auto e) HWY_ATTR { return f(sum, f(f(a, b), f(c, e))); }, y,
        static_cast<const Compute<T>*>(y), x, x + stride, x + 2 * stride, x + 3 * stride);
  }
  for (; r < rows; ++r, x += stride) map(d, columns, f, y, static_cast<const Compute<T>*>(y), x);
}

void reduce_chunk_to(const void* x, DType dtype, int64_t at, int64_t n, void* y, int64_t y_at, Reduce f) {
  visit_floating(dtype, "reduce", [&](auto t) HWY_ATTR {
    using T = decltype(t);
    const T* from = static_cast<const T*>(x) + at;
    static_cast<Compute<T>*>(y)[y_at] = f == Reduce::sum ? reduce_chunk<Sum>(from, n) : reduce_chunk<Maximum>(from, n);
  });
}

void reduce_rows_to(const void* x, DType dtype, int64_t at, int64_t rows, int64_t stride, void* y, int64_t y_at,
                    int64_t columns, Reduce f) {
  visit_floating(dtype, "reduce", [&](auto t) HWY_ATTR {
    using T = decltype(t);
    const T* from = static_cast<const T*>(x) + at;
    auto* to = static_cast<Compute<T>*>(y) + y_at;
    if (f == Reduce::sum) {
      reduce_rows<Sum>(from, rows, stride, to, columns);
    } else {
      reduce_rows<Maximum>(from, rows, stride, to, columns);
    }
  });
}

// The first index of the row's maximum, or of its first NaN.
void argmax_range(const Tensor& x, int32_t* y, int64_t begin, int64_t end) {
  visit_floating(x.dtype(), "argmax", [&](auto t) HWY_ATTR {
    using T = decltype(t);
    const Tag<T> d;
    const int64_t width = x.dim(1);
    for (int64_t n = begin; n < end; ++n) {
      const T* row = x.data<T>() + n * width;
      const auto best = hn::Set(d, reduce_chunk<Maximum>(row, width));
      const bool nan = !hn::AllTrue(d, hn::Eq(best, best));
      intptr_t found = -1;
      for (int64_t i = 0; found < 0; i += lanes(d)) {  // ends: the maximum is one of the row
        const int64_t left = width - i;
        const auto v = left >= lanes(d) ? load(d, row + i) : load(d, row + i, left);
        const auto hit = hn::And(hn::FirstN(d, size_t(left)), nan ? hn::IsNaN(v) : hn::Eq(v, best));
        found = hn::FindFirstTrue(d, hit);
        if (found >= 0) y[n] = int32_t(i + found);
      }
    }
  });
}

double sum_of_squares_chunk(const Tensor& x, int64_t begin, int64_t end) {
  double result = 0;
  visit_floating(x.dtype(), "sum_of_squares", [&](auto t) HWY_ATTR {
    using T = decltype(t);
    const Tag<double> d;
    const T* from = x.data<T>();
    auto a = hn::Zero(d), b = hn::Zero(d);
    int64_t i = begin;
    for (const int64_t step = lanes(d); i + 2 * step <= end; i += 2 * step) {
      const auto u = load(d, from + i);
      const auto v = load(d, from + i + step);
      a = hn::MulAdd(u, u, a);
      b = hn::MulAdd(v, v, b);
    }
    for_each_vector(d, end - i, [&](int64_t k, auto... count) HWY_ATTR {
      const auto u = load(d, from + i + k, count...);
      a = hn::MulAdd(u, u, a);
    });
    result = fold<Sum>(d, hn::Add(a, b));
  });
  return result;
}

}  // namespace
}  // namespace mora::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mora::kernels::cpu {
namespace {

HWY_EXPORT(reduce_chunk_to);
HWY_EXPORT(reduce_rows_to);
HWY_EXPORT(argmax_range);
HWY_EXPORT(sum_of_squares_chunk);

constexpr int64_t chunk_length = 16384;  // elements of a row
constexpr int64_t chunk_rows = 256;
constexpr int64_t panel = 4096;  // columns

int64_t pieces(int64_t n, int64_t size) { return (n + size - 1) / size; }

// One step of a pass: (outer, reduced, inner) of `dtype` → (outer, chunks, inner) of the compute dtype.
Tensor reduce_chunks(const void* x, DType dtype, int64_t outer, int64_t reduced, int64_t inner, Reduce f) {
  const DType compute = compute_dtype(dtype);
  const int64_t size = inner == 1 ? chunk_length : chunk_rows;
  const int64_t chunks = pieces(reduced, size);
  Tensor y = Tensor::empty({outer, chunks, inner}, compute);
  void* to = y.mutable_raw();
  if (inner == 1) {
    parallel_for(outer * chunks, row_grain(std::min(size, reduced)), [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const int64_t at = i % chunks * size;
        HWY_DYNAMIC_DISPATCH(reduce_chunk_to)
        (x, dtype, i / chunks * reduced + at, std::min(size, reduced - at), to, i, f);
      }
    });
    return y;
  }
  const int64_t panels = pieces(inner, panel);
  const int64_t work = std::min(size, reduced) * std::min(panel, inner);
  parallel_for(outer * chunks * panels, row_grain(work), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t column = i % panels * panel;
      const int64_t chunk = i / panels;  // of all outer
      const int64_t row = chunk % chunks * size;
      HWY_DYNAMIC_DISPATCH(reduce_rows_to)
      (x, dtype, (chunk / chunks * reduced + row) * inner + column, std::min(size, reduced - row), inner, to,
       chunk * inner + column, std::min(panel, inner - column), f);
    }
  });
  return y;
}

}  // namespace

void reduce(const Tensor& x, Tensor& y, uint32_t dims, Reduce f) {
  check_reduce(x, y, dims);
  if (y.numel() == 0) return;
  if (x.numel() == 0) {
    require<ShapeError>(f == Reduce::sum, "max: no elements to take the maximum of in {}", x.shape());
    std::memset(y.mutable_raw(), 0, y.bytes());
    return;
  }
  // The innermost reduced group first: (outer, reduced, inner), all groups after it kept.
  std::vector<DimensionGroup> groups = group_dimensions(x.shape(), dims);
  Tensor partial = x;
  int64_t inner = 1;
  while (!groups.empty()) {
    const DimensionGroup group = groups.back();
    groups.pop_back();
    if (!group.reduced) {
      inner *= group.size;
      continue;
    }
    for (int64_t left = group.size; left > 1;) {
      const int64_t outer = partial.numel() / (left * inner);
      partial = reduce_chunks(partial.raw(), partial.dtype(), outer, left, inner, f);
      left = partial.dim(1);
    }
  }
  convert(partial.raw(), partial.dtype(), y.mutable_raw(), y.dtype(), y.numel());
}

void argmax(const Tensor& x, Tensor& y) {
  invariant(x.rank() == 2 && x.is_contiguous() && x.dim(1) > 0 && y.numel() == x.dim(0), "argmax: {} into {}",
            x.shape(), y.shape());
  auto* out = y.mutable_data<int32_t>();
  parallel_for(x.dim(0), row_grain(x.dim(1)), [&](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(argmax_range)(x, out, begin, end);
  });
}

void sum_of_squares(const Tensor& x, Tensor& out) {
  invariant(x.is_contiguous() && out.numel() == 1, "sum_of_squares: {} into {}", x.shape(), out.shape());
  std::vector<double> partial(size_t(pieces(x.numel(), chunk_length)));
  parallel_for(int64_t(partial.size()), 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      partial[size_t(i)] =
          HWY_DYNAMIC_DISPATCH(sum_of_squares_chunk)(x, i * chunk_length, std::min(x.numel(), (i + 1) * chunk_length));
    }
  });
  double sum = 0;
  for (double s : partial) sum += s;
  *out.mutable_data<double>() = sum;
}

}  // namespace mora::kernels::cpu
#endif
