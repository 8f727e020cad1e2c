// The turn of one head by the angles of its position. Included after kernels/cpu/foreach_target.h, once for each
// instruction set.
#if defined(MORA_KERNELS_CPU_ROTATE_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef MORA_KERNELS_CPU_ROTATE_H_
#undef MORA_KERNELS_CPU_ROTATE_H_
#else
#define MORA_KERNELS_CPU_ROTATE_H_
#endif

#include "kernels/cpu/simd.h"

HWY_BEFORE_NAMESPACE();
namespace mora::kernels::cpu::HWY_NAMESPACE {

// One head: x and y (D), which may be one, c and s (D/2); `inverse` turns the other way.
template <class T>
void rotate(const T* x, const Compute<T>* c, const Compute<T>* s, T* y, int64_t half, bool inverse) {
  const Tag<T> d;
  const auto sign = hn::Set(d, inverse ? -1 : 1);
  const auto turn = [&](auto x1, auto x2, auto cosine, auto sine, auto write) HWY_ATTR {
    const auto signed_sine = hn::Mul(sign, sine);
    write(hn::NegMulAdd(x2, signed_sine, hn::Mul(x1, cosine)), y);
    write(hn::MulAdd(x1, signed_sine, hn::Mul(x2, cosine)), y + half);
  };
  int64_t j = 0;
  for (; j + lanes(d) <= half; j += lanes(d))
    turn(load(d, x + j), load(d, x + half + j), load(d, c + j), load(d, s + j),
         [&](auto v, T* to) HWY_ATTR { store(v, d, to + j); });
  if (const int64_t n = half - j; n > 0)
    turn(load(d, x + j, n), load(d, x + half + j, n), load(d, c + j, n), load(d, s + j, n),
         [&](auto v, T* to) HWY_ATTR { store(v, d, to + j, n); });
}

}  // namespace mora::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
