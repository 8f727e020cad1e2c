// y = softmax(scale·q·kᵀ)·v for one query a sequence: all scores, their exponentials, then the sum of the values. The
// heads of a group that fall to one thread read its keys and values together, up to four at a time.
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

// Scores s_j become exp(scale·(s_j − max)).
struct Normalizer {
  float largest, sum;  // of scale·s_j, of the exponentials
};
Normalizer exponentiate(float* scores, int64_t n, float scale) {
  const hn::ScalableTag<float> d;
  constexpr float lowest = -std::numeric_limits<float>::infinity();
  const auto factor = hn::Set(d, scale);
  const auto scaled = [&](int64_t i) HWY_ATTR { return hn::Mul(factor, hn::LoadU(d, scores + i)); };
  auto largest = hn::Set(d, lowest);
  for (int64_t i = 0; i < n; i += lanes(d)) largest = hn::Max(largest, within(d, scaled(i), i, 0, n, lowest));
  largest = hn::MaxOfLanes(d, largest);
  auto sum = hn::Zero(d);
  for (int64_t i = 0; i < n; i += lanes(d)) {
    const auto p = exp_nonpositive(d, hn::Sub(scaled(i), largest));
    hn::StoreU(p, d, scores + i);
    sum = hn::Add(sum, within(d, p, i, 0, n, 0.0f));
  }
  return {hn::GetLane(largest), hn::GetLane(hn::SumOfLanes(d, sum))};
}

// out[i·out_stride + 0, dim) = Σ_j p[i·p_stride + j]·v_j for i < COUNT over n rows v_j `stride` apart; whole vectors of
// out are written.
template <int COUNT, class S>
void sum_rows(const float* p, int64_t p_stride, const S* values, int64_t stride, int64_t n, int64_t dim, float* out,
              int64_t out_stride) {
  const hn::ScalableTag<float> d;
  using V = hn::Vec<decltype(d)>;
  const auto columns = [&]<int VECTORS>(std::integral_constant<int, VECTORS>, int64_t at, auto... count) HWY_ATTR {
    V sum[COUNT][VECTORS];
    for (auto& row : sum)
      for (V& v : row) v = hn::Zero(d);
    for (int64_t j = 0; j < n; ++j) {
      V v[VECTORS];
#pragma GCC unroll 4
      for (int c = 0; c < VECTORS; ++c) v[c] = load(d, values + j * stride + at + c * lanes(d), count...);
#pragma GCC unroll 4
      for (int i = 0; i < COUNT; ++i) {
        const V weight = hn::Set(d, p[i * p_stride + j]);
#pragma GCC unroll 4
        for (int c = 0; c < VECTORS; ++c) sum[i][c] = hn::MulAdd(weight, v[c], sum[i][c]);
      }
    }
    for (int i = 0; i < COUNT; ++i)
      for (int c = 0; c < VECTORS; ++c) hn::StoreU(sum[i][c], d, out + i * out_stride + at + c * lanes(d));
  };
  int64_t at = 0;
  for (; at + tile_vectors * lanes(d) <= dim; at += tile_vectors * lanes(d))
    columns(std::integral_constant<int, tile_vectors>(), at);
  for (; at + lanes(d) <= dim; at += lanes(d)) columns(std::integral_constant<int, 1>(), at);
  if (at < dim) columns(std::integral_constant<int, 1>(), at, dim - at);
}

// Read from the tensors by the caller: other cores fetch this side by side, and the handles of tensors line after line.
struct DecodeInputs {
  AttentionPlan plan;
  HeadRows q, k, v, y;
  float* lse;
};

// E: what queries and keys are multiplied as; S: what the cache holds.
template <class E, class S>
class Decode {
 public:
  static constexpr int64_t most_heads = 4;

  // Of one thread, with memory of its own.
  explicit Decode(const DecodeInputs& in)
      : plan_(in.plan),
        q_(in.q),
        k_(in.k),
        v_(in.v),
        y_(in.y),
        lse_(in.lse),
        row_stride_(padded<float>(plan_.dim)),
        score_stride_(padded<float>(plan_.longest)),
        memory_(most_heads * (2 * row_stride_ + score_stride_)),
        queries_(reinterpret_cast<E*>(memory_.data())),
        outputs_(memory_.data() + most_heads * row_stride_),
        scores_(outputs_ + most_heads * row_stride_) {
    static_assert(sizeof(E) == sizeof(float));
  }

  // `count` heads of one group, for one sequence's query.
  void run(int64_t sequence, int64_t head, int64_t count) {
    static_assert(most_heads == 4);
    switch (count) {
      case 1: return run_heads<1>(sequence, head);
      case 2: return run_heads<2>(sequence, head);
      case 3: return run_heads<3>(sequence, head);
      default: return run_heads<4>(sequence, head);
    }
  }

 private:
  template <int COUNT>
  void run_heads(int64_t sequence, int64_t head) {
    const Range seen = plan_.visible_to(sequence, 0);
    const int64_t token = plan_.q_offsets[sequence], kv_head = head / plan_.group;
    const int64_t first = plan_.kv_offsets[sequence] + seen.begin;
    if (seen.empty()) {
      std::fill_n(outputs_, plan_.dim, 0.0f);
      for (int i = 0; i < COUNT; ++i) write(token, head + i, outputs_, 1, -std::numeric_limits<float>::infinity());
      return;
    }
    for (int64_t i = 0; i < COUNT; ++i) read_factors(q_, token, head + i, plan_.dim, queries_ + i * row_stride_);
    dot_rows<E, COUNT>(factors_of(queries_), row_stride_ * Element<E>::factors, k_.row<S>(first, kv_head),
                       k_.token_stride, seen.size(), plan_.dim, scores_, score_stride_);
    Normalizer normalizers[COUNT];
    for (int64_t i = 0; i < COUNT; ++i)
      normalizers[i] = exponentiate(scores_ + i * score_stride_, seen.size(), float(plan_.shape.scale));
    sum_rows<COUNT>(scores_, score_stride_, v_.row<S>(first, kv_head), v_.token_stride, seen.size(), plan_.dim,
                    outputs_, row_stride_);
    for (int64_t i = 0; i < COUNT; ++i) {
      const auto [largest, sum] = normalizers[i];
      const hn::ScalableTag<float> d;
      write(token, head + i, outputs_ + i * row_stride_, 1 / sum, largest + hn::GetLane(log(d, hn::Set(d, sum))));
    }
  }

  void write(int64_t token, int64_t head, const float* output, float factor, float lse) {
    lse_[token * plan_.heads + head] = lse;
    write_row(output, plan_.dim, factor, y_, token, head);
  }

  const AttentionPlan plan_;
  const HeadRows q_, k_, v_, y_;
  float* const lse_;
  const int64_t row_stride_, score_stride_;
  const Scratch<float> memory_;  // one for all three: threads that begin together wait for each other to allocate
  E* const queries_;             // (heads, D)
  float* const outputs_;         // (heads, D)
  float* const scores_;          // (heads, keys)
};

template <class E, class S>
void decode_as(const DecodeInputs& in) {
  const AttentionPlan& plan = in.plan;
  const int64_t grain = row_grain(2 * plan.longest * plan.dim);
  parallel_for(plan.sequences * plan.heads, grain, [&in](int64_t begin, int64_t end) {
    Decode<E, S> decode(in);
    const int64_t heads = in.plan.heads, group = in.plan.group;
    for (int64_t i = begin, count = 0; i < end; i += count) {
      const int64_t sequence = i / heads, head = i % heads;
      count = std::min({end - i, group - head % group, Decode<E, S>::most_heads});
      if (in.plan.queries(sequence) > 0) decode.run(sequence, head, count);
    }
  });
}

void run_attention_decode(const AttentionPlan& plan, const Tensor& q, const Tensor& k, const Tensor& v, Tensor& y,
                          Tensor& lse) {
  y.mutable_raw();
  const DecodeInputs in{plan, HeadRows(q), HeadRows(k), HeadRows(v), HeadRows(y), lse.mutable_data<float>()};
#if HWY_TARGET == HWY_AVX3 && HWY_ARCH_X86_64
  if (q.dtype() == DType::bf16 && multiplies_bf16_pairs()) return decode_as<Bf16Pair, bf16_t>(in);
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
