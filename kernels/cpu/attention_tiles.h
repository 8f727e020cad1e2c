// Blocks of queries, keys and values for the products of attention: read from tensors of any floating dtype and strides
// into f32 (f64 for f64), and written back. Included after kernels/cpu/simd.h, once for each instruction set.
#if defined(MORA_KERNELS_CPU_ATTENTION_TILES_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef MORA_KERNELS_CPU_ATTENTION_TILES_H_
#undef MORA_KERNELS_CPU_ATTENTION_TILES_H_
#else
#define MORA_KERNELS_CPU_ATTENTION_TILES_H_
#endif

#include <hwy/cache_control.h>

#include "kernels/cpu/attention_plan.h"
#include "kernels/cpu/block_product.h"
#include "kernels/cpu/simd.h"

HWY_BEFORE_NAMESPACE();
namespace mora::kernels::cpu::HWY_NAMESPACE {

// Sizes chosen by measurement: a block of scores and a block of keys or values lie in the second-level cache together
// with everything else, each tile's part of them in the first.
inline constexpr int64_t block_rows = 96;
inline constexpr int64_t block_keys = 128;

// Calls f with a null pointer to the element type of memory of `dtype` whose arithmetic is T.
template <class T, class F>
HWY_INLINE void with_storage(DType dtype, F f) {
  if constexpr (std::is_same_v<T, double>) {
    f(static_cast<double*>(nullptr));
  } else {
    switch (dtype) {
      case DType::bf16: return f(static_cast<bf16_t*>(nullptr));
      case DType::f16: return f(static_cast<f16_t*>(nullptr));
      default: return f(static_cast<float*>(nullptr));
    }
  }
}

// Calls f(E()) for the elements E that tensors of a dtype are multiplied as.
template <class F>
HWY_INLINE void with_elements(DType dtype, F f) {
  if (dtype == DType::f64) return f(double());
#if HWY_TARGET == HWY_AVX3 && HWY_ARCH_X86_64
  if (dtype == DType::bf16 && multiplies_bf16_pairs()) return f(Bf16Pair());
#endif
  f(float());
}

// Short sequences have a few rows a head, far apart: no hardware prefetcher follows them from one head to the next.
template <class S>
HWY_INLINE void prefetch_next(const HeadRows& in, const S* row, int64_t n) {
  constexpr int64_t line = 64 / sizeof(S);
  for (int64_t i = 0; i < n; i += line) hwy::Prefetch(row + in.next + i);
}

// out[0, n) = factor · in, then zeros to the end of the last vector.
template <class T>
void read_row(const HeadRows& in, int64_t token, int64_t head, int64_t n, T factor, T* out) {
  with_storage<T>(in.dtype, [&](auto* type) HWY_ATTR {
    const hn::ScalableTag<T> d;
    const auto* p = in.row<std::remove_pointer_t<decltype(type)>>(token, head);
    const auto scale = hn::Set(d, factor);
    prefetch_next(in, p, n);
    int64_t i = 0;
    for (; i + lanes(d) <= n; i += lanes(d)) hn::Store(hn::Mul(scale, load(d, p + i)), d, out + i);
    if (i < n) hn::Store(hn::Mul(scale, load(d, p + i, n - i)), d, out + i);
  });
}

// out[0, n) = factor · in, in the tensor's dtype.
template <class T>
void write_row(const T* in, int64_t n, T factor, const HeadRows& out, int64_t token, int64_t head) {
  with_storage<T>(out.dtype, [&](auto* type) HWY_ATTR {
    using S = std::remove_pointer_t<decltype(type)>;
    const hn::ScalableTag<T> d;
    const auto scale = hn::Set(d, factor);
    map(
        d, n, [&](auto v) HWY_ATTR { return hn::Mul(scale, v); }, const_cast<S*>(out.row<S>(token, head)), in);
  });
}

// The n factors of a row, as they are multiplied.
template <class E>
void read_factors(const HeadRows& in, int64_t token, int64_t head, int64_t n, E* out) {
  if constexpr (std::is_same_v<E, Bf16Pair>) {
    const bf16_t* p = in.row<bf16_t>(token, head);
    prefetch_next(in, p, n);
    std::memset(out + n / 2, 0, sizeof(E));  // where n is odd, the absent one
    std::memcpy(out, p, size_t(n) * sizeof(bf16_t));
  } else {
    read_row(in, token, head, n, E(1), out);
  }
}

// Zeros in place of the given factors of a row.
template <class E>
void clear_factors(E* row, int64_t begin, int64_t end) {
  auto* p = factors_of(row);
  if (begin < end) std::memset(static_cast<void*>(p + begin), 0, size_t(end - begin) * sizeof(*p));
}

// out[i] = (lower lane i, upper lane i), rounded to bf16.
template <class D, class V>
HWY_INLINE void store_pairs(D d, V lower, V upper, Bf16Pair* out) {
  const hn::Rebind<uint32_t, D> du;
  const auto word = [&](V v) HWY_ATTR { return hn::PromoteTo(du, narrow<bf16_t>(d, v)); };
  hn::StoreU(hn::Or(word(lower), hn::ShiftLeft<16>(word(upper))), du, reinterpret_cast<uint32_t*>(out));
}

// Rows [0, count) of n factors become pairs of rows, an absent last one zeros: the depth of a product then.
HWY_INLINE void pair_rows(Block<Bf16Pair> rows, int64_t count, int64_t n, Block<Bf16Pair> out) {
  for (int64_t i = 0; i < count; i += 2)
    pair_rows(factors_of(rows.row(i)), i + 1 < count ? factors_of(rows.row(i + 1)) : nullptr, n,
              reinterpret_cast<uint32_t*>(out.row(i / 2)));
}

// Rows of `columns` sums' width from the given number of factors on become the zeros that pad a product's depth.
template <class E>
void pad_depth(int64_t factors, int64_t columns, Block<E> depth) {
  for (int64_t i = elements<E>(factors); i < elements<E>(padded_depth<E>(factors)); ++i)
    std::memset(static_cast<void*>(depth.row(i)), 0, size_t(padded<SumOf<E>>(columns)) * sizeof(E));
}

// The rows of tokens as the depth of a product with D columns: (tokens, D), or (⌈tokens / 2⌉, D) pairs; padded.
template <class E>
void read_depth(const HeadRows& in, Range tokens, int64_t head, int64_t dim, Block<E> out,
                [[maybe_unused]] Block<E> buffer) {
  for (int64_t token = tokens.begin; token < tokens.end; token += Element<E>::factors) {
    E* row = out.row((token - tokens.begin) / Element<E>::factors);
    if constexpr (std::is_same_v<E, Bf16Pair>) {
      const int64_t count = std::min<int64_t>(2, tokens.end - token);
      for (int64_t i = 0; i < count; ++i) read_factors(in, token + i, head, dim, buffer.row(i));
      pair_rows(buffer, count, dim, {row, 0});
    } else {
      read_factors(in, token, head, dim, row);
    }
  }
  pad_depth(tokens.size(), dim, out);
}

// out (n, 4), rows `stride` apart, = the transpose of four rows of n.
HWY_INLINE void transpose_four(const float* const rows[4], int64_t n, float* out, int64_t stride) {
  const hn::FixedTag<float, 4> d;
  int64_t i = 0;
  for (; i + 4 <= n; i += 4) {
    const auto r0 = hn::LoadU(d, rows[0] + i), r1 = hn::LoadU(d, rows[1] + i);
    const auto r2 = hn::LoadU(d, rows[2] + i), r3 = hn::LoadU(d, rows[3] + i);
    const auto low01 = hn::InterleaveLower(d, r0, r1), low23 = hn::InterleaveLower(d, r2, r3);
    const auto high01 = hn::InterleaveUpper(d, r0, r1), high23 = hn::InterleaveUpper(d, r2, r3);
    float* p = out + i * stride;
    hn::StoreU(hn::ConcatLowerLower(d, low23, low01), d, p);
    hn::StoreU(hn::ConcatUpperUpper(d, low23, low01), d, p + stride);
    hn::StoreU(hn::ConcatLowerLower(d, high23, high01), d, p + 2 * stride);
    hn::StoreU(hn::ConcatUpperUpper(d, high23, high01), d, p + 3 * stride);
  }
  for (; i < n; ++i)
    for (int64_t j = 0; j < 4; ++j) out[i * stride + j] = rows[j][i];
}

HWY_INLINE void transpose_four(const double* const rows[4], int64_t n, double* out, int64_t stride) {
  for (int64_t i = 0; i < n; ++i)
    for (int64_t j = 0; j < 4; ++j) out[i * stride + j] = rows[j][i];
}

// out (dim, tokens) = the transposed rows of `in`, elements along dim kept together, with zero columns to a multiple of
// four and of a vector. `buffer`: four rows of padded(dim).
template <class E>
void read_transposed(const HeadRows& in, Range tokens, int64_t head, int64_t dim, Block<E> out, Block<E> buffer) {
  using T = SumOf<E>;  // pairs are moved as f32
  const int64_t columns = (padded<T>(tokens.size()) + 3) / 4 * 4;
  for (int64_t column = 0; column < columns; column += 4) {
    const T* rows[4];
    for (int64_t j = 0; j < 4; ++j) {
      const int64_t token = tokens.begin + column + j;
      rows[j] = reinterpret_cast<const T*>(buffer.row(j));
      if (token >= tokens.end) {
        std::memset(static_cast<void*>(buffer.row(j)), 0, size_t(elements<E>(dim)) * sizeof(E));
      } else if (std::is_same_v<E, T> && in.dtype == dtype_of<T>) {
        rows[j] = in.row<T>(token, head);
        prefetch_next(in, rows[j], dim);
      } else {
        read_factors(in, token, head, dim, buffer.row(j));
      }
    }
    transpose_four(rows, elements<E>(dim), reinterpret_cast<T*>(out.data) + column, out.stride);
  }
}

// v, lanes [j, …) of a row, with `absent` in the lanes outside [begin, end).
template <class D, class V>
HWY_INLINE V within(D d, V v, int64_t j, int64_t begin, int64_t end, hn::TFromD<D> absent) {
  if (j >= begin && j + lanes(d) <= end) return v;
  const auto hidden = hn::FirstN(d, size_t(std::max<int64_t>(0, begin - j)));
  const auto seen = hn::AndNot(hidden, hn::FirstN(d, size_t(std::min(lanes(d), end - j))));
  return hn::IfThenElse(seen, v, hn::Set(d, absent));
}

// The keys of a block that each row of a run sees, relative to the block's first key.
struct RowRanges {
  int32_t begin[block_rows];
  int32_t end[block_rows];

  void set(const AttentionPlan& plan, int64_t sequence, Range rows, Range keys) {
    plan.for_each_row(rows, [&](int64_t i, int64_t query, int64_t) {
      const Range range = plan.visible_to(sequence, query);
      begin[i] = int32_t(std::clamp(range.begin, keys.begin, keys.end) - keys.begin);
      end[i] = int32_t(std::clamp(range.end, keys.begin, keys.end) - keys.begin);
    });
  }
  // The keys that at least one of the rows sees.
  Range of(Range rows) const { return {begin[rows.begin], end[rows.end - 1]}; }
  // The rows, of the first m, that see at least one of the keys.
  Range seeing(Range keys, int64_t m) const {
    return {std::upper_bound(end, end + m, keys.begin) - end, std::lower_bound(begin, begin + m, keys.end) - begin};
  }
};

}  // namespace mora::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
