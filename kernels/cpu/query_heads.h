// Attention of one query a sequence: all scores, their exponentials, then the sum of the values. The heads of a group
// that fall to one thread read its keys and values together, up to four at a time. Included after
// kernels/cpu/foreach_target.h, once for each instruction set.
#if defined(MORA_KERNELS_CPU_QUERY_HEADS_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef MORA_KERNELS_CPU_QUERY_HEADS_H_
#undef MORA_KERNELS_CPU_QUERY_HEADS_H_
#else
#define MORA_KERNELS_CPU_QUERY_HEADS_H_
#endif

#include <algorithm>
#include <limits>

#include "kernels/cpu/attention_tiles.h"
#include "kernels/cpu/dot_rows.h"
#include "kernels/cpu/scratch.h"
#include "kernels/cpu/simd_math.h"

HWY_BEFORE_NAMESPACE();
namespace mora::kernels::cpu::HWY_NAMESPACE {

// Scores s_j become exp(scale·(s_j − max)).
struct Normalizer {
  float largest, sum;  // of scale·s_j, of the exponentials
};
HWY_INLINE Normalizer exponentiate(float* scores, int64_t n, float scale) {
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

// What is read and written. Read from the tensors by the caller: other cores fetch this side by side, and the handles
// of tensors line after line.
struct QueryInputs {
  AttentionPlan plan;
  HeadRows q, k, v, y;
  float* lse;  // (N, H), or null
};

// E: what queries and keys are multiplied as; S: what q, k, v and y hold. Of one thread, with memory of its own, which
// is for `longest` keys of `dim` at most.
template <class E, class S>
class QueryHeads {
 public:
  QueryHeads(int64_t longest, int64_t dim)
      : row_stride_(padded<float>(dim)),
        score_stride_(padded<float>(longest)),
        memory_(most_heads * (2 * row_stride_ + score_stride_)),
        queries_(reinterpret_cast<E*>(memory_.data())),
        outputs_(memory_.data() + most_heads * row_stride_),
        scores_(outputs_ + most_heads * row_stride_) {
    static_assert(sizeof(E) == sizeof(float));
  }

  // Heads [begin, end), counted sequence after sequence.
  void run(const QueryInputs& in, int64_t begin, int64_t end) const {
    const int64_t heads = in.plan.heads, group = in.plan.group;
    for (int64_t i = begin, count = 0; i < end; i += count) {
      const int64_t sequence = i / heads, head = i % heads;
      count = std::min({end - i, group - head % group, most_heads});
      if (in.plan.queries(sequence) > 0) run_group(in, sequence, head, count);
    }
  }

 private:
  static constexpr int64_t most_heads = 4;

  // `count` heads of one group, for one sequence's query.
  void run_group(const QueryInputs& in, int64_t sequence, int64_t head, int64_t count) const {
    static_assert(most_heads == 4);
    switch (count) {
      case 1: return run_heads<1>(in, sequence, head);
      case 2: return run_heads<2>(in, sequence, head);
      case 3: return run_heads<3>(in, sequence, head);
      default: return run_heads<4>(in, sequence, head);
    }
  }

  template <int COUNT>
  void run_heads(const QueryInputs& in, int64_t sequence, int64_t head) const {
    const AttentionPlan& plan = in.plan;
    const Range seen = plan.visible_to(sequence, 0);
    const int64_t token = plan.q_offsets[sequence], kv_head = head / plan.group;
    const int64_t first = plan.kv_offsets[sequence] + seen.begin;
    if (seen.empty()) {
      std::fill_n(outputs_, plan.dim, 0.0f);
      for (int i = 0; i < COUNT; ++i) write(in, token, head + i, outputs_, 1, -std::numeric_limits<float>::infinity());
      return;
    }
    for (int64_t i = 0; i < COUNT; ++i) read_factors(in.q, token, head + i, plan.dim, queries_ + i * row_stride_);
    dot_rows<E, COUNT>(factors_of(queries_), row_stride_ * Element<E>::factors, in.k.row<S>(first, kv_head),
                       in.k.token_stride, seen.size(), plan.dim, scores_, score_stride_);
    Normalizer normalizers[COUNT];
    for (int64_t i = 0; i < COUNT; ++i)
      normalizers[i] = exponentiate(scores_ + i * score_stride_, seen.size(), float(plan.shape.scale));
    sum_rows<COUNT>(scores_, score_stride_, in.v.row<S>(first, kv_head), in.v.token_stride, seen.size(), plan.dim,
                    outputs_, row_stride_);
    for (int64_t i = 0; i < COUNT; ++i) {
      const auto [largest, sum] = normalizers[i];
      const hn::ScalableTag<float> d;
      write(in, token, head + i, outputs_ + i * row_stride_, 1 / sum, largest + hn::GetLane(log(d, hn::Set(d, sum))));
    }
  }

  void write(const QueryInputs& in, int64_t token, int64_t head, const float* output, float factor, float lse) const {
    if (in.lse) in.lse[token * in.plan.heads + head] = lse;
    write_row(output, in.plan.dim, factor, in.y, token, head);
  }

  const int64_t row_stride_, score_stride_;
  const Scratch<float> memory_;  // one for all three: threads that begin together wait for each other to allocate
  E* const queries_;             // (heads, D)
  float* const outputs_;         // (heads, D)
  float* const scores_;          // (heads, keys)
};

}  // namespace mora::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
