// Two bf16 factors that are neighbours in depth, which one instruction of AVX-512 BF16 multiplies and adds to an f32
// sum. Included after kernels/cpu/foreach_target.h, once for each instruction set.
#if defined(MORA_KERNELS_CPU_BF16_PAIRS_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef MORA_KERNELS_CPU_BF16_PAIRS_H_
#undef MORA_KERNELS_CPU_BF16_PAIRS_H_
#else
#define MORA_KERNELS_CPU_BF16_PAIRS_H_
#endif

#include "kernels/cpu/simd.h"
#include "kernels/matmul.h"

HWY_BEFORE_NAMESPACE();
namespace mora::kernels::cpu::HWY_NAMESPACE {

// Whether this is compiled for a set that may have them; `has_bf16_pairs` says whether the processor has.
constexpr bool may_have_bf16_pairs = HWY_TARGET == HWY_AVX3 && HWY_ARCH_X86_64;

struct Bf16Pair {
  float bits;  // the factor of the lower depth in the lower half
};

template <class D, class V>
HWY_INLINE void add_product(D, V a, V b, V& sum, hn::TFromD<D> /*element*/) {
  sum = hn::MulAdd(a, b, sum);
}
#if HWY_TARGET == HWY_AVX3 && HWY_ARCH_X86_64
// No instruction set of this Highway has it, so the assembler is asked; whether the processor has it, the caller asked.
template <class D, class V>
HWY_INLINE void add_product(D, V a, V b, V& sum, Bf16Pair) {
  auto next = sum.raw;  // an array of sums that the assembler changes would lie in memory
  asm("vdpbf16ps %2, %1, %0" : "+v"(next) : "v"(a.raw), "v"(b.raw));
  sum.raw = next;
}
#endif

}  // namespace mora::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
