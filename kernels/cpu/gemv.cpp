// y = x·Wᵀ + c for a few rows of x. Every element of W is used once a row of x, so that the time is that of reading W:
// each thread streams through a contiguous run of W's rows, one after the other, and x stays in the first-level cache.
#include "kernels/cpu/gemv.h"

#include <algorithm>

#include "kernels/cpu/elements.h"
#include "kernels/cpu/scratch.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/gemv.cpp"
#include "kernels/cpu/foreach_target.h"

#include "kernels/cpu/dot_rows.h"
#include "kernels/cpu/simd.h"

HWY_BEFORE_NAMESPACE();
namespace mora::kernels::cpu::HWY_NAMESPACE {
namespace {

// What all rows of W have in common.
template <class W, class Y>
struct Product {
  const float* x;  // (m, k)
  const W* w;      // (n, k)
  const float* bias;
  Y* y;  // (m, n)
  int64_t n, k;

  // Columns [begin, end) of y, for COUNT rows of x.
  template <int COUNT>
  void columns(int64_t begin, int64_t end) const {
    for (int64_t row = begin; row < end; ++row) {
      float dots[COUNT];
      dot_row<COUNT>(x, k, w + row * k, k, dots);
      for (int64_t i = 0; i < COUNT; ++i) y[i * n + row] = Y(dots[i] + (bias ? bias[row] : 0.0f));
    }
  }

  void columns_of(int64_t m, int64_t begin, int64_t end) const {
    static_assert(gemv_most_rows == 4);
    switch (m) {
      case 1: return columns<1>(begin, end);
      case 2: return columns<2>(begin, end);
      case 3: return columns<3>(begin, end);
      default: return columns<4>(begin, end);
    }
  }
};

void run_gemv(const Tensor& x, const Tensor& w, const Tensor& bias, Tensor& y) {
  const int64_t m = x.dim(0), n = w.dim(0), k = w.dim(1);
  Scratch<float> widened(x.dtype() == DType::f32 ? 0 : m * k);
  if (x.dtype() == DType::bf16)
    map(
        hn::ScalableTag<float>(), m * k, [](auto v) HWY_ATTR { return v; }, widened.data(), x.data<bf16_t>());
  const float* px = x.dtype() == DType::f32 ? x.data<float>() : widened.data();
  const float* pb = bias.defined() ? bias.data<float>() : nullptr;
  void* py = y.mutable_raw();
  parallel_for(n, row_grain(k), [&](int64_t begin, int64_t end) {
    visit_floating(w.dtype(), "gemv", [&]<class W>(W) {
      if constexpr (sizeof(W) <= sizeof(float)) {
        if (y.dtype() == DType::f32)
          Product<W, float>{px, w.data<W>(), pb, static_cast<float*>(py), n, k}.columns_of(m, begin, end);
        else
          Product<W, bf16_t>{px, w.data<W>(), pb, static_cast<bf16_t*>(py), n, k}.columns_of(m, begin, end);
      }
    });
  });
}

}  // namespace
}  // namespace mora::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mora::kernels::cpu {

HWY_EXPORT(run_gemv);

void gemv(const Tensor& x, const Tensor& w, const Tensor& bias, Tensor& y) {
  invariant(w.is_contiguous() && w.dtype() != DType::f64 && is_floating(w.dtype()), "gemv: a weight of {}",
            name_of(w.dtype()));
  HWY_DYNAMIC_DISPATCH(run_gemv)(x, w, bias, y);
}

}  // namespace mora::kernels::cpu
#endif
