// Rotary position embedding, half-split layout: the pair (x_j, x_{j+D/2}) turned by the angle of its position.
#include "kernels/attention.h"
#include "kernels/checks.h"
#include "kernels/cpu/elements.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/rotary.cpp"
#include "kernels/cpu/foreach_target.h"

#include "kernels/cpu/rotate.h"

HWY_BEFORE_NAMESPACE();
namespace mora::kernels::cpu::HWY_NAMESPACE {
namespace {

void run_rotary(const Tensor& x, const int32_t* positions, const Tensor& cos, const Tensor& sin, Tensor& y,
                bool inverse) {
  visit_floating(x.dtype(), "rotary", [&]<class T>(T) {
    const int64_t heads = x.dim(1), dim = x.dim(2), half = dim / 2;
    const T* from = x.data<T>();
    T* to = y.mutable_data<T>();
    const auto* c = cos.data<Compute<T>>();
    const auto* s = sin.data<Compute<T>>();
    parallel_for(x.dim(0), row_grain(heads * dim), [&](int64_t begin, int64_t end) {
      for (int64_t n = begin; n < end; ++n)
        for (int64_t h = 0; h < heads; ++h)
          rotate(from + n * x.strides()[0] + h * x.strides()[1], c + positions[n] * half, s + positions[n] * half,
                 to + (n * heads + h) * dim, half, inverse);
    });
  });
}

}  // namespace
}  // namespace mora::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mora::kernels::cpu {

HWY_EXPORT(run_rotary);

void rotary(const Tensor& x, const Tensor& positions, const Tensor& cos, const Tensor& sin, Tensor& y, bool inverse) {
  check_rotary(x, positions, cos, sin, y);
  for (const int32_t p : positions.values<int32_t>())
    if (p < 0 || p >= cos.dim(0)) reject_position(p, cos.dim(0));
  HWY_DYNAMIC_DISPATCH(run_rotary)(x, positions.data<int32_t>(), cos, sin, y, inverse);
}

}  // namespace mora::kernels::cpu
#endif
