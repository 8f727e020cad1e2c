// y = softmax(scale·q·kᵀ)·v for one query a sequence, head by head: all scores, their exponentials, then the sum of the
// values.
#include "kernels/cpu/attention_decode.h"

#include <limits>

#include "kernels/cpu/elements.h"
#include "kernels/cpu/scratch.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/attention_decode.cpp"
#include "kernels/cpu/foreach_target.h"

#include "kernels/cpu/attention_tiles.h"
#include "kernels/cpu/dot_rows.h"
#include "kernels/cpu/simd_math.h"

HWY_BEFORE_NAMESPACE();
namespace mora::kernels::cpu::HWY_NAMESPACE {
namespace {

// Scores s_j become exp(s_j − max).
struct Normalizer {
  float largest, sum;
};
Normalizer exponentiate(float* scores, int64_t n) {
  const hn::ScalableTag<float> d;
  constexpr float lowest = -std::numeric_limits<float>::infinity();
  const auto absent = [&](auto v, int64_t i) HWY_ATTR { return within(d, v, i, 0, n, lowest); };
  auto largest = hn::Set(d, lowest);
  for (int64_t i = 0; i < n; i += lanes(d)) largest = hn::Max(largest, absent(hn::LoadU(d, scores + i), i));
  largest = hn::MaxOfLanes(d, largest);
  auto sum = hn::Zero(d);
  for (int64_t i = 0; i < n; i += lanes(d)) {
    const auto p = exp_nonpositive(d, hn::Sub(hn::LoadU(d, scores + i), largest));
    hn::StoreU(p, d, scores + i);
    sum = hn::Add(sum, within(d, p, i, 0, n, 0.0f));
  }
  return {hn::GetLane(largest), hn::GetLane(hn::SumOfLanes(d, sum))};
}

// out[0, dim) = Σ_j p_j·v_j over n rows `stride` apart; whole vectors of out are written.
template <class S>
void sum_rows(const float* p, const S* values, int64_t stride, int64_t n, int64_t dim, float* out) {
  const hn::ScalableTag<float> d;
  constexpr int64_t vectors = 4;
  int64_t at = 0;
  for (; at + vectors * lanes(d) <= dim; at += vectors * lanes(d)) {
    hn::Vec<decltype(d)> sum[vectors] = {hn::Zero(d), hn::Zero(d), hn::Zero(d), hn::Zero(d)};
    for (int64_t j = 0; j < n; ++j) {
      const auto weight = hn::Set(d, p[j]);
      for (int64_t i = 0; i < vectors; ++i)
        sum[i] = hn::MulAdd(weight, load(d, values + j * stride + at + i * lanes(d)), sum[i]);
    }
    for (int64_t i = 0; i < vectors; ++i) hn::StoreU(sum[i], d, out + at + i * lanes(d));
  }
  for (; at < dim; at += lanes(d)) {
    const int64_t left = std::min(lanes(d), dim - at);
    auto sum = hn::Zero(d);
    for (int64_t j = 0; j < n; ++j) sum = hn::MulAdd(hn::Set(d, p[j]), load(d, values + j * stride + at, left), sum);
    hn::StoreU(sum, d, out + at);
  }
}

template <class S>
class Decode {
 public:
  Decode(const AttentionPlan& plan, const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& y, float* lse)
      : plan_(plan),
        q_(q),
        k_(k),
        v_(v),
        y_(y),
        lse_(lse),
        query_(padded<float>(plan.dim)),
        output_(padded<float>(plan.dim)),
        scores_(padded<float>(plan.longest)) {}

  // One head of one sequence's query.
  void run(int64_t sequence, int64_t head) {
    const Range seen = plan_.visible_to(sequence, 0);
    const int64_t token = plan_.q_offsets[sequence], kv_head = head / plan_.group;
    const int64_t first = plan_.kv_offsets[sequence] + seen.begin;
    if (seen.empty()) {
      std::fill_n(output_.data(), plan_.dim, 0.0f);
      lse_[token * plan_.heads + head] = -std::numeric_limits<float>::infinity();
      return write_row(output_.data(), plan_.dim, 1.0f, y_, token, head);
    }
    read_row(q_, token, head, plan_.dim, float(plan_.shape.scale), query_.data());
    for (int64_t j = 0; j < seen.size(); ++j)
      dot_row<1>(query_.data(), 0, k_.row<S>(first + j, kv_head), plan_.dim, scores_.data() + j);
    const auto [largest, sum] = exponentiate(scores_.data(), seen.size());
    sum_rows(scores_.data(), v_.row<S>(first, kv_head), v_.token_stride, seen.size(), plan_.dim, output_.data());
    const hn::ScalableTag<float> d;
    lse_[token * plan_.heads + head] = largest + hn::GetLane(log(d, hn::Set(d, sum)));
    write_row(output_.data(), plan_.dim, 1 / sum, y_, token, head);
  }

 private:
  const AttentionPlan& plan_;
  HeadRows q_, k_, v_, y_;
  float* lse_;
  Scratch<float> query_, output_;  // (D)
  Scratch<float> scores_;          // (keys)
};

void run_attention_decode(const AttentionPlan& plan, const Tensor& q, const Tensor& k, const Tensor& v, Tensor& y,
                          Tensor& lse) {
  float* lse_data = lse.mutable_data<float>();
  y.mutable_raw();
  with_storage<float>(q.dtype(), [&](auto* type) {
    using S = std::remove_pointer_t<decltype(type)>;
    const int64_t grain = row_grain(2 * plan.longest * plan.dim);
    parallel_for(plan.sequences * plan.heads, grain, [&](int64_t begin, int64_t end) {
      Decode<S> decode(plan, q, k, v, y, lse_data);
      for (int64_t i = begin; i < end; ++i)
        if (plan.queries(i / plan.heads) > 0) decode.run(i / plan.heads, i % plan.heads);
    });
  });
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
