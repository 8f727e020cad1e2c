// Rows of weights times a few rows of x. Included after kernels/cpu/foreach_target.h, once for each instruction set.
#if defined(MORA_KERNELS_CPU_GEMV_ROWS_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef MORA_KERNELS_CPU_GEMV_ROWS_H_
#undef MORA_KERNELS_CPU_GEMV_ROWS_H_
#else
#define MORA_KERNELS_CPU_GEMV_ROWS_H_
#endif

#include <algorithm>
#include <span>

#include "kernels/cpu/attention_tiles.h"
#include "kernels/cpu/dot_rows.h"
#include "kernels/cpu/elements.h"
#include "kernels/cpu/gemv.h"
#include "kernels/cpu/simd.h"

HWY_BEFORE_NAMESPACE();
namespace mora::kernels::cpu::HWY_NAMESPACE {

// Columns [begin, end) of y, for the m rows of x. E is what x and W are multiplied as (kernels/cpu/block_product.h).
template <class E, class W, class Y>
struct Product {
  const typename Element<E>::Factor* x;  // (m, k)
  const W* w;                            // (n, k)
  const float* bias;                     // (n), or null
  Y* y;                                  // (m, n)
  int64_t n, k;
  const void* next;  // what is read after the last of the columns, or null

  template <int COUNT, int HELD = 0>
  void columns(int64_t begin, int64_t end) const {
    const int64_t distance = bytes_ahead() / int64_t(sizeof(W));
    const auto ahead_of = [&](int64_t row) -> const W* {
      const int64_t beyond = (row - end) * k + distance;  // of the last column's end
      return beyond < 0 || !next ? w + row * k + distance : static_cast<const W*>(next) + beyond;
    };
    const RowDots<E, COUNT, HELD> dots_of(x, k, k);
    for (int64_t row = begin; row < end; ++row) {
      float dots[COUNT];
      dots_of(w + row * k, ahead_of(row), dots);
      for (int64_t i = 0; i < COUNT; ++i) y[i * n + row] = Y(dots[i] + (bias ? bias[row] : 0.0f));
    }
  }

  void columns_of(int64_t m, int64_t begin, int64_t end) const {
    static_assert(gemv_most_rows == 4);
    if constexpr (std::is_same_v<E, Bf16Pair>) {
      constexpr int held = 16;
      if (m == 1 && k >= held * RowDots<E, 1, held>::step()) return columns<1, held>(begin, end);
    }
    switch (m) {
      case 1: return columns<1>(begin, end);
      case 2: return columns<2>(begin, end);
      case 3: return columns<3>(begin, end);
      default: return columns<4>(begin, end);
    }
  }
};

// The rows of x: as bf16 factors that are multiplied in pairs, and as f32. What no term asks for may be null.
struct GemvFactors {
  const bf16_t* pairs;  // (m, k)
  const float* wide;    // (m, k)
};

// Whether a term's factors are multiplied in pairs; x is of T.
template <class T>
bool in_pairs(const GemvTerm& term) {
  return may_have_bf16_pairs && std::is_same_v<T, bf16_t> && term.w_dtype == DType::bf16 && has_bf16_pairs();
}

// Columns [begin, end) of the term's y, for m rows of x; `next` is read after them, or null.
template <class T>
void multiply_rows(const GemvTerm& term, const GemvFactors& x, int64_t m, int64_t begin, int64_t end,
                   const void* next) {
  const auto run = [&]<class E, class W>(E, const W* w, const auto* factors) HWY_ATTR {
    Product<E, W, T>{factors, w, term.bias, static_cast<T*>(term.y), term.n, term.k, next}.columns_of(m, begin, end);
  };
#if HWY_TARGET == HWY_AVX3 && HWY_ARCH_X86_64
  if (in_pairs<T>(term)) return run(Bf16Pair{}, static_cast<const bf16_t*>(term.w), x.pairs);
#endif
  with_storage<float>(term.w_dtype, [&]<class W>(W*) { run(0.0f, static_cast<const W*>(term.w), x.wide); });
}

// The same of all terms' y, counted one term after the other.
template <class T>
void multiply_rows(std::span<const GemvTerm> terms, const GemvFactors& x, int64_t m, int64_t begin, int64_t end,
                   const void* next) {
  for (size_t i = 0; i < terms.size(); ++i) {
    const int64_t n = terms[i].n, first = std::max<int64_t>(begin, 0), last = std::min(end, n);
    if (first < last) multiply_rows<T>(terms[i], x, m, first, last, end > n ? terms[i + 1].w : next);
    begin -= n;
    end -= n;
  }
}

// How many rows the terms have together, and where row `row` of them lies.
inline int64_t rows_of(std::span<const GemvTerm> terms) {
  int64_t rows = 0;
  for (const GemvTerm& term : terms) rows += term.n;
  return rows;
}
inline const void* row_of(std::span<const GemvTerm> terms, int64_t row) {
  for (const GemvTerm& term : terms) {
    if (row < term.n) return static_cast<const char*>(term.w) + row * term.k * int64_t(size_of(term.w_dtype));
    row -= term.n;
  }
  return nullptr;
}

// The factors that the terms ask for of x (count); `memory` (count) holds what is not x itself.
template <class T>
GemvFactors factors_for(std::span<const GemvTerm> terms, const T* x, int64_t count, float* memory) {
  if constexpr (std::is_same_v<T, float>) {
    return {nullptr, x};
  } else {
    if (std::ranges::all_of(terms, in_pairs<T>)) return {x, nullptr};
    map(
        hn::ScalableTag<float>(), count, [](auto v) HWY_ATTR { return v; }, memory, x);
    return {x, memory};
  }
}

}  // namespace mora::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
