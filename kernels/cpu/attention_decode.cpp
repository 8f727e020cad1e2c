// y = softmax(scale·q·kᵀ)·v for one query a sequence.
#include "kernels/cpu/attention_decode.h"

#include "kernels/cpu/elements.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/attention_decode.cpp"
#include "kernels/cpu/foreach_target.h"

#include "kernels/cpu/query_heads.h"

HWY_BEFORE_NAMESPACE();
namespace mora::kernels::cpu::HWY_NAMESPACE {
namespace {

template <class E, class S>
void decode_as(const QueryInputs& in) {
  const AttentionPlan& plan = in.plan;
  const int64_t grain = row_grain(2 * plan.longest * plan.dim);
  parallel_for(plan.sequences * plan.heads, grain, [&in](int64_t begin, int64_t end) {
    QueryHeads<E, S>(in.plan.longest, in.plan.dim).run(in, begin, end);
  });
}

void run_attention_decode(const AttentionPlan& plan, const Tensor& q, const Tensor& k, const Tensor& v, Tensor& y,
                          Tensor& lse) {
  y.mutable_raw();
  const QueryInputs in{plan, HeadRows(q), HeadRows(k), HeadRows(v), HeadRows(y), lse.mutable_data<float>()};
#if HWY_TARGET == HWY_AVX3 && HWY_ARCH_X86_64
  if (q.dtype() == DType::bf16 && has_bf16_pairs()) return decode_as<Bf16Pair, bf16_t>(in);
#endif
  with_storage<float>(q.dtype(), [&](auto* type) { decode_as<float, std::remove_pointer_t<decltype(type)>>(in); });
}

}  // namespace
}  // namespace mora::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mora::kernels::cpu {

HWY_EXPORT(run_attention_decode);

bool is_decode(const AttentionPlan& plan) {
  for (int64_t b = 0; b < plan.sequences; ++b)
    if (plan.queries(b) > 1) return false;
  return true;
}

void attention_decode(const AttentionPlan& plan, const Tensor& q, const Tensor& k, const Tensor& v, Tensor& y,
                      Tensor& lse) {
  HWY_DYNAMIC_DISPATCH(run_attention_decode)(plan, q, k, v, y, lse);
}

}  // namespace mora::kernels::cpu
#endif
