// y = x·Wᵀ + c for a few rows of x. Every element of W is used once a row of x, so that the time is that of reading W:
// each thread streams through a contiguous run of W's rows, one after the other, and x stays in the first-level cache.
// bf16 by bf16 is multiplied two factors at a time where the processor has AVX-512 BF16.
#include "kernels/cpu/gemv.h"

#include <algorithm>
#include <vector>

#include "engine/crew.h"
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

// Columns [begin, end) of y, for the m rows of x. E is what x and W are multiplied as (kernels/cpu/block_product.h).
template <class E, class W, class Y>
struct Product {
  const typename Element<E>::Factor* x;  // (m, k)
  const W* w;                            // (n, k)
  const float* bias;                     // (n), or null
  Y* y;                                  // (m, n)
  int64_t n, k;

  template <int COUNT>
  void columns(int64_t begin, int64_t end) const {
    for (int64_t row = begin; row < end; ++row) {
      float dots[COUNT];
      dot_row<E, COUNT>(x, k, w + row * k, k, dots);
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

// A term's memory, side by side: another core fetches it in one line, where handles of tensors would be four in a row.
struct TermRows {
  const void *x, *w;
  const float* bias;
  void* y;
  int64_t m, n, k;
  DType w_dtype, y_dtype;
  bool pairs;  // of bf16; x is of them then, and of f32 else

  template <class E, class W>
  void multiply(int64_t begin, int64_t end) const {
    const auto* factors = static_cast<const typename Element<E>::Factor*>(x);
    const auto run = [&]<class Y>(Y* out) {
      Product<E, W, Y>{factors, static_cast<const W*>(w), bias, out, n, k}.columns_of(m, begin, end);
    };
    if (y_dtype == DType::f32)
      run(static_cast<float*>(y));
    else
      run(static_cast<bf16_t*>(y));
  }

  void columns(int64_t begin, int64_t end) const {
#if HWY_TARGET == HWY_AVX3 && HWY_ARCH_X86_64
    if (pairs) return multiply<Bf16Pair, bf16_t>(begin, end);
#endif
    visit_floating(w_dtype, "gemv", [&]<class W>(W) {
      if constexpr (sizeof(W) <= sizeof(float)) multiply<float, W>(begin, end);
    });
  }
};

void run_gemv(const Tensor& x, std::span<GemvTerm> terms) {
  const bool pairs_here = HWY_TARGET == HWY_AVX3 && x.dtype() == DType::bf16 && multiplies_bf16_pairs();
  Scratch<float> widened;
  std::vector<TermRows> rows;
  int64_t count = 0;
  for (GemvTerm& term : terms) {
    const bool pairs = pairs_here && term.w.dtype() == DType::bf16;
    if (x.dtype() == DType::bf16 && !pairs && !widened.data()) {
      widened = Scratch<float>(x.numel());
      map(
          hn::ScalableTag<float>(), x.numel(), [](auto v) HWY_ATTR { return v; }, widened.data(), x.data<bf16_t>());
    }
    rows.push_back({.x = widened.data() && !pairs ? widened.data() : x.raw(),
                    .w = term.w.raw(),
                    .bias = term.bias.defined() ? term.bias.data<float>() : nullptr,
                    .y = term.y.mutable_raw(),
                    .m = x.dim(0),
                    .n = term.w.dim(0),
                    .k = term.w.dim(1),
                    .w_dtype = term.w.dtype(),
                    .y_dtype = term.y.dtype(),
                    .pairs = pairs});
    count += term.w.dim(0);
  }
  parallel_pieces(count, row_grain(x.dim(1)), [all = std::span<const TermRows>(rows)](int64_t begin, int64_t end) {
    for (const TermRows& term : all) {
      const int64_t first = std::max<int64_t>(begin, 0), last = std::min(end, term.n);
      if (first < last) term.columns(first, last);
      begin -= term.n;
      end -= term.n;
    }
  });
}

}  // namespace
}  // namespace mora::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mora::kernels::cpu {

HWY_EXPORT(run_gemv);

void gemv(const Tensor& x, std::span<GemvTerm> terms) {
  for (const GemvTerm& term : terms)
    invariant(term.w.is_contiguous() && term.w.dtype() != DType::f64 && is_floating(term.w.dtype()),
              "gemv: a weight of {}", name_of(term.w.dtype()));
  HWY_DYNAMIC_DISPATCH(run_gemv)(x, terms);
}

}  // namespace mora::kernels::cpu
#endif
