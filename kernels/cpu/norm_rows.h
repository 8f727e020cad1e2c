// The forward of layer norm and RMS norm. Included after kernels/cpu/foreach_target.h, once for each instruction set.
#if defined(MORA_KERNELS_CPU_NORM_ROWS_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef MORA_KERNELS_CPU_NORM_ROWS_H_
#undef MORA_KERNELS_CPU_NORM_ROWS_H_
#else
#define MORA_KERNELS_CPU_NORM_ROWS_H_
#endif

#include <algorithm>
#include <cmath>

#include "kernels/cpu/simd.h"

HWY_BEFORE_NAMESPACE();
namespace mora::kernels::cpu::HWY_NAMESPACE {

// y = (x − μ)·rstd·w [+ b], a row at a time; μ = 0 for RMS norm.
template <class T>
struct NormRows {
  const T* x;
  const Compute<T>*w, *b;  // b may be null
  T* y;
  Compute<T>*mean, *rstd;  // mean null for RMS norm
  int64_t length;
  Compute<T> eps;

  // While a row is written, the moments of the next are taken in the same pass, so that reads and writes go on all the
  // time: Σ (x − k) and Σ (x − k)², where k, the mean of the row's first m numbers, is at most √(length/m − 1) standard
  // deviations off, which bounds what cancels in the variance.
  void rows(int64_t begin, int64_t end) const {
    using C = Compute<T>;
    const Tag<T> d;
    const auto *vw = w, *vb = b;  // not members: a store may change whatever a pointer leads to
    const int64_t size = length;
    auto mu = hn::Zero(d), scale = hn::Zero(d);
    for (int64_t n = begin - 1; n < end; ++n) {
      const T* from = x + std::max(n, begin) * size;
      const T* next = x + std::min(n + 1, end - 1) * size;
      T* to = n < begin ? nullptr : y + n * size;
      const auto k = mean ? mean_of_first(next) : hn::Zero(d);
      struct Moments {
        hn::Vec<Tag<T>> sum, squares;
      };
      const auto moments = fold_vectors(
          d, size, Moments{hn::Zero(d), hn::Zero(d)},
          [&](Moments s, int64_t i, auto... count) HWY_ATTR {
            if (to) {
              const auto normal = hn::Mul(hn::Sub(load(d, from + i, count...), mu), scale);
              const auto weight = load(d, vw + i, count...);
              store(vb ? hn::MulAdd(normal, weight, load(d, vb + i, count...)) : hn::Mul(normal, weight), d, to + i,
                    count...);
            }
            auto v = hn::Sub(load(d, next + i, count...), k);
            if constexpr (sizeof...(count) > 0) v = hn::IfThenElseZero(hn::FirstN(d, size_t(count)...), v);
            return Moments{hn::Add(s.sum, v), hn::MulAdd(v, v, s.squares)};
          },
          [](Moments one, Moments other) HWY_ATTR {
            return Moments{hn::Add(one.sum, other.sum), hn::Add(one.squares, other.squares)};
          });
      if (n + 1 == end) break;
      C variance = hn::GetLane(hn::SumOfLanes(d, moments.squares)) / C(size);
      if (mean) {
        const C shift = hn::GetLane(hn::SumOfLanes(d, moments.sum)) / C(size);
        mean[n + 1] = hn::GetLane(k) + shift;
        mu = hn::Set(d, mean[n + 1]);
        variance = std::max(variance - shift * shift, C(0));
      }
      rstd[n + 1] = 1 / std::sqrt(variance + eps);
      scale = hn::Set(d, rstd[n + 1]);
    }
  }

  HWY_INLINE hn::Vec<Tag<T>> mean_of_first(const T* row) const {
    const Tag<T> d;
    const int64_t m = std::min(length, lanes(d));
    return hn::Mul(hn::SumOfLanes(d, load(d, row, m)), hn::Set(d, 1 / Compute<T>(m)));
  }
};

}  // namespace mora::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
