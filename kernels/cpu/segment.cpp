// Means over the rows of each sequence of a packed batch: mean pooling.
#include "kernels/checks.h"
#include "kernels/cpu/elements.h"
#include "kernels/reduce.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/segment.cpp"
#include "kernels/cpu/foreach_target.h"
#include "kernels/cpu/simd.h"

HWY_BEFORE_NAMESPACE();
namespace mora::kernels::cpu::HWY_NAMESPACE {
namespace {

// y[b] for the segments [begin, end).
void segment_mean_range(const Tensor& x, const int32_t* offsets, void* y, int64_t begin, int64_t end) {
  const int64_t width = x.dim(1);
  visit_floating(x.dtype(), "segment_mean", [&](auto t) HWY_ATTR {
    using T = decltype(t);
    const Tag<T> d;
    for (int64_t b = begin; b < end; ++b) {
      const int64_t length = offsets[b + 1] - offsets[b];
      const T* from = x.data<T>() + offsets[b] * width;
      T* to = static_cast<T*>(y) + b * width;
      const auto scale = hn::Set(d, length > 0 ? Compute<T>(1) / Compute<T>(length) : 0);
      for_each_vector(d, width, [&](int64_t i, auto... count) HWY_ATTR {
        auto sum = hn::Zero(d);
        for (int64_t n = 0; n < length; ++n) sum = hn::Add(sum, load(d, from + n * width + i, count...));
        store(hn::Mul(sum, scale), d, to + i, count...);
      });
    }
  });
}

// gx of the rows of the segments [begin, end).
void segment_mean_backward_range(const Tensor& gy, const int32_t* offsets, void* gx, int64_t begin, int64_t end) {
  const int64_t width = gy.dim(1);
  visit_floating(gy.dtype(), "segment_mean_backward", [&](auto t) HWY_ATTR {
    using T = decltype(t);
    const Tag<T> d;
    for (int64_t b = begin; b < end; ++b) {
      const auto scale = hn::Set(d, Compute<T>(1) / Compute<T>(std::max(1, offsets[b + 1] - offsets[b])));
      for (int64_t n = offsets[b]; n < offsets[b + 1]; ++n) {
        map(
            d, width, [&](auto g) HWY_ATTR { return hn::Mul(g, scale); }, static_cast<T*>(gx) + n * width,
            gy.data<T>() + b * width);
      }
    }
  });
}

}  // namespace
}  // namespace mora::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mora::kernels::cpu {
namespace {

HWY_EXPORT(segment_mean_range);
HWY_EXPORT(segment_mean_backward_range);

void check_rising_segments(std::string_view op, const Tensor& rows, const Tensor& offsets, const Tensor& segments) {
  check_segments(op, rows, offsets, segments);
  const int32_t* at = offsets.data<int32_t>();
  const int64_t count = segments.dim(0);
  bool ascending = at[0] == 0 && at[count] == rows.dim(0);
  for (int64_t b = 0; b < count; ++b) ascending = ascending && at[b] <= at[b + 1];
  invariant(ascending, "{}: offsets do not ascend from 0 to {}", op, rows.dim(0));
}

int64_t segment_grain(const Tensor& rows, const Tensor& segments) {
  return row_grain(rows.numel() / std::max<int64_t>(1, segments.dim(0)));
}

}  // namespace

void segment_mean(const Tensor& x, const Tensor& offsets, Tensor& y) {
  check_rising_segments("segment_mean", x, offsets, y);
  void* out = y.mutable_raw();
  parallel_for(y.dim(0), segment_grain(x, y), [&](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(segment_mean_range)(x, offsets.data<int32_t>(), out, begin, end);
  });
}

void segment_mean_backward(const Tensor& gy, const Tensor& offsets, Tensor& gx) {
  check_rising_segments("segment_mean_backward", gx, offsets, gy);
  void* out = gx.mutable_raw();
  parallel_for(gy.dim(0), segment_grain(gx, gy), [&](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(segment_mean_backward_range)(gy, offsets.data<int32_t>(), out, begin, end);
  });
}

}  // namespace mora::kernels::cpu
#endif
