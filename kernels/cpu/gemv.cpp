// y = x·Wᵀ + c for a few rows of x. Every element of W is used once a row of x, so that the time is that of reading W:
// each thread streams through a contiguous run of W's rows, one after the other, and x stays in the first-level cache.
// bf16 by bf16 is multiplied two factors at a time where the processor has AVX-512 BF16.
#include "kernels/cpu/gemv.h"

#include "kernels/cpu/scratch.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/gemv.cpp"
#include "kernels/cpu/foreach_target.h"

#include "kernels/cpu/gemv_rows.h"

HWY_BEFORE_NAMESPACE();
namespace mora::kernels::cpu::HWY_NAMESPACE {
namespace {

template <class T>
void gemv_as(const Tensor& x, std::span<const GemvTerm> terms) {
  const Scratch<float> memory(std::is_same_v<T, float> ? 0 : x.numel());
  const GemvFactors factors = factors_for(terms, x.data<T>(), x.numel(), memory.data());
  parallel_for(rows_of(terms), row_grain(x.dim(1)),
               [&](int64_t begin, int64_t end) { multiply_rows<T>(terms, factors, x.dim(0), begin, end, nullptr); });
}

void run_gemv(const Tensor& x, std::span<const GemvTerm> terms) {
  x.dtype() == DType::f32 ? gemv_as<float>(x, terms) : gemv_as<bf16_t>(x, terms);
}

}  // namespace
}  // namespace mora::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mora::kernels::cpu {

HWY_EXPORT(run_gemv);

void gemv(const Tensor& x, std::span<const GemvTerm> terms) { HWY_DYNAMIC_DISPATCH(run_gemv)(x, terms); }

}  // namespace mora::kernels::cpu
#endif
