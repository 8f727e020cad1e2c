// y = softmax(scale·q·kᵀ + mask)·v, a block of rows against a block of keys at a time, with the running maximum m and
// sum l of each row (Milakov & Gimelshein 2018, "Online normalizer calculation for softmax"):
//   m' = max(m, max_j s_j),   p_j = exp(s_j − m'),   l' = l·exp(m − m') + Σ_j p_j,   o' = o·exp(m − m') + p·v,
// and at the end y = o / l, lse = m + log l.
#include "kernels/attention.h"

#include <limits>

#include "kernels/cpu/attention_decode.h"
#include "kernels/cpu/attention_plan.h"
#include "kernels/cpu/scratch.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/attention.cpp"
#include "kernels/cpu/foreach_target.h"

#include "kernels/cpu/attention_tiles.h"
#include "kernels/cpu/simd_math.h"

HWY_BEFORE_NAMESPACE();
namespace mora::kernels::cpu::HWY_NAMESPACE {
namespace {

// Takes the pieces of one thread, in order. Keys and values of a (sequence, kv head) are read once for all its pieces.
template <class E>
class Forward {
  using T = SumOf<E>;

 public:
  Forward(const AttentionPlan& plan, const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& y, T* lse)
      : plan_(plan),
        q_(q, plan.group),
        k_(k),
        v_(v),
        y_(y),
        lse_(lse),
        dim_(plan.dim),
        multiply_(plan.dim, block_keys) {
    const int64_t keys = std::min(block_keys, plan.longest);
    const int64_t row_stride = padded_stride<T>(dim_);
    const int64_t key_stride = padded_stride<T>((padded<T>(keys) + 3) / 4 * 4);
    transposed_keys_ = take<E>((plan.longest + block_keys - 1) / block_keys * elements<E>(dim_), key_stride);
    values_ = take<E>(elements<E>(padded_depth<E>(plan.longest)), row_stride);
    queries_ = take<E>(block_rows, row_stride);
    output_ = take<T>(block_rows, row_stride);
    scores_ = take<T>(block_rows, key_stride);
    if constexpr (std::is_same_v<E, T>)
      powers_ = scores_;
    else
      powers_ = take<E>(block_rows, padded_stride<E>(elements<E>(key_stride)));
    buffer_ = take<E>(4, row_stride);
  }

  void run(const AttentionPiece& piece) {
    const int64_t m = piece.rows.size();
    const Range seen = plan_.visible(piece.sequence, piece.rows);
    const Range blocks = seen.empty() ? Range{0, 0} : Range{seen.begin / block_keys, (seen.end - 1) / block_keys + 1};
    read_keys(piece, blocks);
    read_queries(piece);
    for (int64_t i = 0; i < m; ++i) std::fill_n(output_.row(i), padded<T>(dim_), T(0));
    std::fill_n(maximum_, block_rows, -std::numeric_limits<T>::infinity());
    std::fill_n(sum_, block_rows, T(0));
    for (int64_t block = blocks.begin; block < blocks.end; ++block) attend(piece, block);
    write(piece);
  }

 private:
  template <class Of>
  Block<Of> take(int64_t rows, int64_t stride) {
    memory_.emplace_back(rows * stride * int64_t(sizeof(Of)));
    return {reinterpret_cast<Of*>(memory_.back().data()), stride};
  }
  Range keys_of(int64_t sequence, int64_t block) const {
    return {block * block_keys, std::min(plan_.keys(sequence), (block + 1) * block_keys)};
  }
  Block<E> transposed_keys(int64_t block) const {
    return {transposed_keys_.row(block * elements<E>(dim_)), transposed_keys_.stride};
  }
  Block<E> values(Range keys) const { return {values_.row(keys.begin / Element<E>::factors), values_.stride}; }

  void read_keys(const AttentionPiece& piece, Range blocks) {
    if (piece.sequence != sequence_ || piece.kv_head != kv_head_) {
      sequence_ = piece.sequence;
      kv_head_ = piece.kv_head;
      next_block_ = blocks.begin;
    }
    const int64_t first = plan_.kv_offsets[sequence_];
    for (; next_block_ < blocks.end; ++next_block_) {
      const Range keys = keys_of(sequence_, next_block_), tokens{first + keys.begin, first + keys.end};
      read_transposed(k_, tokens, kv_head_, dim_, transposed_keys(next_block_), buffer_);
      read_depth(v_, tokens, kv_head_, dim_, values(keys), buffer_);
    }
  }

  void read_queries(const AttentionPiece& piece) {
    for_each_row(piece,
                 [&](int64_t i, int64_t token, int64_t head) { read_factors(q_, token, head, dim_, queries_.row(i)); });
  }

  // One block of keys: scores, the softmax that runs along them, and the output's share.
  void attend(const AttentionPiece& piece, int64_t block) {
    const int64_t m = piece.rows.size();
    const Range keys = keys_of(sequence_, block);
    ranges_.set(plan_, sequence_, piece.rows, keys);
    multiply_(m, as_is(queries_), transposed_keys(block), scores_, false, [&](Range rows) {
      return Extent{.columns = ranges_.of(rows), .depth = {0, dim_}};
    });
    update_maxima(m);
    for (int64_t i = 0; i < m; ++i) exponentiate(i, padded_depth<E>(padded<T>(keys.size())));
    multiply_(m, as_is(powers_), values(keys), output_, true, [&](Range rows) {
      return Extent{.columns = {0, dim_}, .depth = ranges_.of(rows)};
    });
  }

  // maximum_ becomes the new one, correction_ = exp(old − new).
  void update_maxima(int64_t m) {
    const hn::ScalableTag<T> d;
    constexpr T hidden = -std::numeric_limits<T>::infinity();
    const auto scale = hn::Set(d, T(plan_.shape.scale));
    HWY_ALIGN T next[block_rows];
    std::copy_n(maximum_, block_rows, next);
    for (int64_t i = 0; i < m; ++i) {
      const int64_t begin = ranges_.begin[i], end = ranges_.end[i];
      const T* s = scores_.row(i);
      auto largest = hn::Set(d, next[i]);
      for (int64_t j = begin / lanes(d) * lanes(d); j < end; j += lanes(d))
        largest = hn::Max(largest, within(d, hn::Mul(hn::Load(d, s + j), scale), j, begin, end, hidden));
      next[i] = hn::GetLane(hn::MaxOfLanes(d, largest));
    }
    for (int64_t i = 0; i < m; i += lanes(d)) {
      const auto now = hn::Load(d, next + i);
      const auto base = hn::IfThenZeroElse(hn::Eq(now, hn::Set(d, hidden)), now);  // −inf − −inf would be NaN
      hn::Store(exp_nonpositive(d, hn::Sub(hn::Load(d, maximum_ + i), base)), d, correction_ + i);
      hn::Store(base, d, base_ + i);
      hn::Store(now, d, maximum_ + i);
    }
  }

  // Row i of p from that of the scores, zero where hidden; sum and output are brought to the new maximum.
  void exponentiate(int64_t i, int64_t columns) {
    const hn::ScalableTag<T> d;
    const int64_t begin = ranges_.begin[i], end = ranges_.end[i];
    const int64_t first = begin / lanes(d) * lanes(d);
    const T* s = scores_.row(i);
    E* p = powers_.row(i);
    clear_factors(p, 0, first);
    const auto base = hn::Set(d, base_[i]), scale = hn::Set(d, T(plan_.shape.scale));
    auto sum = hn::Zero(d);
    int64_t j = first;
    for (; j < end; j += lanes(d)) {
      const auto power = exp_nonpositive(d, hn::MulSub(hn::Load(d, s + j), scale, base));
      const auto v = within(d, power, j, begin, end, T(0));
      sum = hn::Add(sum, v);
      store(v, d, factors_of(p) + j);
    }
    clear_factors(p, j, columns);
    sum_[i] = sum_[i] * correction_[i] + hn::GetLane(hn::SumOfLanes(d, sum));
    if (correction_[i] == T(1)) return;
    const auto correction = hn::Set(d, correction_[i]);
    T* o = output_.row(i);
    for (j = 0; j < dim_; j += lanes(d)) hn::Store(hn::Mul(correction, hn::Load(d, o + j)), d, o + j);
  }

  void write(const AttentionPiece& piece) {
    const hn::ScalableTag<T> d;
    HWY_ALIGN T lse[block_rows];
    for (int64_t i = 0; i < piece.rows.size(); i += lanes(d)) {
      const auto sum = hn::Load(d, sum_ + i);
      const auto none = hn::Eq(sum, hn::Zero(d));
      const auto log_sum = log(d, hn::IfThenElse(none, hn::Set(d, T(1)), sum));
      hn::Store(hn::Add(hn::Load(d, maximum_ + i), log_sum), d, lse + i);
    }
    for_each_row(piece, [&](int64_t i, int64_t token, int64_t head) {
      write_row(output_.row(i), dim_, sum_[i] > T(0) ? T(1) / sum_[i] : sum_[i], y_, token, head);
      lse_[token * plan_.heads + head] = lse[i];
    });
  }

  // Calls f(i, token, head) for the i-th row of the piece, in the numbering of q.
  template <class F>
  void for_each_row(const AttentionPiece& piece, F f) const {
    plan_.for_each_row(piece.rows, [&](int64_t i, int64_t query, int64_t head) {
      f(i, plan_.q_offsets[piece.sequence] + query, piece.kv_head * plan_.group + head);
    });
  }

  const AttentionPlan& plan_;
  HeadRows q_, k_, v_, y_;
  T* lse_;
  int64_t dim_;
  Products<E> multiply_;
  std::vector<Scratch<std::byte>> memory_;
  Block<E> transposed_keys_;  // of each block of keys: (D, keys)
  Block<E> values_;           // (keys, D)
  Block<E> queries_;          // (rows, D)
  Block<T> output_;           // (rows, D)
  Block<T> scores_;           // (rows, keys)
  Block<E> powers_;           // (rows, keys): p, in the scores' place where they are of one type
  Block<E> buffer_;
  RowRanges ranges_;
  HWY_ALIGN T maximum_[block_rows], base_[block_rows], correction_[block_rows], sum_[block_rows];
  int64_t sequence_ = -1, kv_head_ = -1;
  int64_t next_block_ = 0;  // of the keys and values read so far
};

void run_attention(const AttentionPlan& plan, const Tensor& q, const Tensor& k, const Tensor& v, Tensor& y,
                   Tensor& lse) {
  const std::vector<AttentionPiece> pieces = cut_rows(plan, block_rows);
  y.mutable_raw();
  with_elements(q.dtype(), [&]<class E>(E) {
    auto* lse_data = lse.mutable_data<SumOf<E>>();
    parallel_for_pieces(pieces, [&](int64_t begin, int64_t end) {
      Forward<E> forward(plan, q, k, v, y, lse_data);
      for (int64_t i = begin; i < end; ++i) forward.run(pieces[size_t(i)]);
    });
  });
}

}  // namespace
}  // namespace mora::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mora::kernels::cpu {

HWY_EXPORT(run_attention);

void attention(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& q_offsets, const Tensor& kv_offsets,
               Tensor& y, Tensor& lse, const AttentionShape& shape) {
  const AttentionPlan plan = plan_attention(q, k, v, q_offsets, kv_offsets, y, lse, shape);
  if (is_decode(plan) && q.dtype() != DType::f64) return attention_decode(plan, q, k, v, y, lse);
  HWY_DYNAMIC_DISPATCH(run_attention)(plan, q, k, v, y, lse);
}

}  // namespace mora::kernels::cpu
#endif
