// The gradients of attention, from q, k, v, y, lse and gy, with every score recomputed a block at a time (Dao 2023,
// "FlashAttention-2", algorithm 2):
//   p = exp(scale·q·kᵀ − lse)           δ = Σ_d y·gy (a number a row)
//   gv = pᵀ·gy                          gs = p ∘ (gy·vᵀ − δ)
//   gq = scale·gs·k                     gk = scale·gsᵀ·q
#include <limits>

#include "kernels/attention.h"
#include "kernels/cpu/attention_plan.h"
#include "kernels/cpu/scratch.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/attention_backward.cpp"
#include "kernels/cpu/foreach_target.h"

#include "kernels/cpu/attention_tiles.h"
#include "kernels/cpu/simd_math.h"

HWY_BEFORE_NAMESPACE();
namespace mora::kernels::cpu::HWY_NAMESPACE {
namespace {

template <class T>
class Backward {
 public:
  Backward(const AttentionGradient& gradient, int64_t most_rows)
      : plan_(gradient.plan), t_(gradient), dim_(plan_.dim), lse_(most_rows), delta_(most_rows) {
    const int64_t keys = std::min(block_keys, plan_.longest);
    const int64_t row_stride = padded_stride<T>(dim_);
    const int64_t key_stride = padded_stride<T>((padded<T>(keys) + 3) / 4 * 4);
    queries_ = take(most_rows, row_stride);
    gy_ = take(most_rows, row_stride);
    gq_ = take(most_rows, row_stride);
    transposed_keys_ = take(dim_, key_stride);
    transposed_values_ = take(dim_, key_stride);
    keys_ = take(keys, row_stride);
    gk_ = take(keys, row_stride);
    gv_ = take(keys, row_stride);
    p_ = take(block_rows, key_stride);
    gs_ = take(block_rows, key_stride);
    buffer_ = take(4, row_stride);
  }

  // Writes the piece's part of gq, and its share of gk and gv: to the tensors, or where `share` is given (which holds
  // gk, then gv, of the sequence's keys) there.
  void run(const AttentionPiece& piece, T* share) {
    piece_ = &piece;
    read_rows();
    const Range seen = plan_.visible(piece.sequence, piece.rows);
    const int64_t keys = plan_.keys(piece.sequence);
    for (int64_t begin = 0; begin < keys; begin += block_keys) {
      const Range block{begin, std::min(keys, begin + block_keys)};
      fill_rows(gk_, block.size());
      fill_rows(gv_, block.size());
      if (block.begin < seen.end && seen.begin < block.end) {
        read_keys(block);
        for (int64_t first = 0; first < piece.rows.size(); first += block_rows)
          add_rows({first, std::min(piece.rows.size(), first + block_rows)}, block);
      }
      write_keys(block, share);
    }
    for_each_row([&](int64_t i, int64_t token, int64_t head) {
      write_row(gq_.row(i), dim_, T(plan_.shape.scale), t_.gq, token, head);
    });
  }

 private:
  Block<T> take(int64_t rows, int64_t stride) {
    memory_.emplace_back(rows * stride);
    return {memory_.back().data(), stride};
  }
  void fill_rows(Block<T> block, int64_t rows) const {
    for (int64_t i = 0; i < rows; ++i) std::fill_n(block.row(i), padded<T>(dim_), T(0));
  }
  // Calls f(i, token, head) for the i-th row of the piece, in the numbering of q.
  template <class F>
  void for_each_row(F f) const {
    plan_.for_each_row(piece_->rows, [&](int64_t i, int64_t query, int64_t head) {
      f(i, plan_.q_offsets[piece_->sequence] + query, piece_->kv_head * plan_.group + head);
    });
  }

  void read_rows() {
    const hn::ScalableTag<T> d;
    fill_rows(gq_, piece_->rows.size());
    for_each_row([&](int64_t i, int64_t token, int64_t head) HWY_ATTR {
      read_row(t_.q, token, head, dim_, T(plan_.shape.scale), queries_.row(i));
      read_row(t_.gy, token, head, dim_, T(1), gy_.row(i));
      read_row(t_.y, token, head, dim_, T(1), buffer_.data);
      auto delta = hn::Zero(d);
      for (int64_t j = 0; j < dim_; j += lanes(d))
        delta = hn::MulAdd(hn::Load(d, buffer_.data + j), hn::Load(d, gy_.row(i) + j), delta);
      delta_[i] = hn::GetLane(hn::SumOfLanes(d, delta));
      const T lse = static_cast<const T*>(t_.lse)[token * plan_.heads + head];
      lse_[i] = lse == -std::numeric_limits<T>::infinity() ? T(0) : lse;  // −inf − −inf would be NaN
    });
  }

  void read_keys(Range block) {
    const int64_t first = plan_.kv_offsets[piece_->sequence];
    const Range tokens{first + block.begin, first + block.end};
    read_transposed(t_.k, tokens, piece_->kv_head, dim_, transposed_keys_, buffer_);
    read_transposed(t_.v, tokens, piece_->kv_head, dim_, transposed_values_, buffer_);
    for (int64_t j = 0; j < block.size(); ++j)
      read_row(t_.k, tokens.begin + j, piece_->kv_head, dim_, T(1), keys_.row(j));
  }

  // The scores of some of the piece's rows against one block of keys, and what they add to the three gradients.
  void add_rows(Range rows, Range block) {
    const int64_t m = rows.size();
    ranges_.set(plan_, piece_->sequence, {piece_->rows.begin + rows.begin, piece_->rows.begin + rows.end}, block);
    if (ranges_.of({0, m}).empty()) return;
    const Block<T> q{queries_.row(rows.begin), queries_.stride}, gy{gy_.row(rows.begin), gy_.stride};
    const auto seen_columns = [&](Range tile) { return Extent{.columns = ranges_.of(tile), .depth = {0, dim_}}; };
    multiply(m, as_is(q), transposed_keys_, p_, false, seen_columns);
    multiply(m, as_is(gy), transposed_values_, gs_, false, seen_columns);
    for (int64_t i = 0; i < m; ++i) differentiate(i, lse_[rows.begin + i], delta_[rows.begin + i], block.size());

    const auto seeing_rows = [&](Range keys) { return Extent{.columns = {0, dim_}, .depth = ranges_.seeing(keys, m)}; };
    multiply(block.size(), transposed(p_), gy, gv_, true, seeing_rows);
    multiply(block.size(), transposed(gs_), q, gk_, true, seeing_rows);
    multiply(m, as_is(gs_), keys_, {gq_.row(rows.begin), gq_.stride}, true, [&](Range tile) {
      return Extent{.columns = {0, dim_}, .depth = ranges_.of(tile)};
    });
  }

  // Row i of scores becomes p and of gy·vᵀ becomes gs, both zero where hidden.
  void differentiate(int64_t i, T lse, T delta, int64_t keys) {
    const hn::ScalableTag<T> d;
    const int64_t begin = ranges_.begin[i], end = ranges_.end[i];
    T* p = p_.row(i);
    T* gs = gs_.row(i);
    const auto v_lse = hn::Set(d, lse), v_delta = hn::Set(d, delta);
    const int64_t first = begin / lanes(d) * lanes(d);
    int64_t j = first;
    for (; j < end; j += lanes(d)) {
      const auto v = exp_nonpositive(d, hn::Sub(hn::Load(d, p + j), v_lse));
      const auto gv = hn::Mul(v, hn::Sub(hn::Load(d, gs + j), v_delta));
      hn::Store(within(d, v, j, begin, end, T(0)), d, p + j);
      hn::Store(within(d, gv, j, begin, end, T(0)), d, gs + j);
    }
    for (T* hidden : {p, gs}) {
      std::fill(hidden, hidden + first, T(0));
      std::fill(hidden + j, hidden + std::max(j, keys), T(0));
    }
  }

  void write_keys(Range block, T* share) {
    const int64_t keys = plan_.keys(piece_->sequence);
    for (int64_t j = block.begin; j < block.end; ++j) {
      const T* gk = gk_.row(j - block.begin);
      const T* gv = gv_.row(j - block.begin);
      if (share) {
        std::copy_n(gk, dim_, share + j * dim_);
        std::copy_n(gv, dim_, share + (keys + j) * dim_);
      } else {
        write_row(gk, dim_, T(1), t_.gk, plan_.kv_offsets[piece_->sequence] + j, piece_->kv_head);
        write_row(gv, dim_, T(1), t_.gv, plan_.kv_offsets[piece_->sequence] + j, piece_->kv_head);
      }
    }
  }

  const AttentionPlan& plan_;
  const AttentionGradient& t_;
  int64_t dim_;
  const AttentionPiece* piece_ = nullptr;
  std::vector<Scratch<T>> memory_;
  Scratch<T> lse_, delta_;
  Block<T> queries_, gy_, gq_;                    // (rows, D); queries scaled
  Block<T> transposed_keys_, transposed_values_;  // (D, keys)
  Block<T> keys_, gk_, gv_;                       // (keys, D)
  Block<T> p_, gs_;                               // (rows, keys): scores, then p; gy·vᵀ, then gs
  Block<T> buffer_;
  RowRanges ranges_;
};

// The pieces of one sequence and kv head. Where there is not exactly one, their shares of gk and gv are summed
// afterwards, in the order of the pieces.
struct KeyOwner {
  int64_t sequence, kv_head;
  int64_t first_piece, pieces;
};

std::vector<KeyOwner> owners_of(const AttentionPlan& plan, const std::vector<AttentionPiece>& pieces) {
  std::vector<KeyOwner> owners;
  int64_t next = 0;
  for (int64_t b = 0; b < plan.sequences; ++b) {
    for (int64_t g = 0; g < plan.kv_heads; ++g) {
      KeyOwner owner{b, g, next, 0};
      for (; next < int64_t(pieces.size()); ++next, ++owner.pieces)
        if (pieces[size_t(next)].sequence != b || pieces[size_t(next)].kv_head != g) break;
      owners.push_back(owner);
    }
  }
  return owners;
}

template <class T>
void sum_shares(const AttentionGradient& t, const KeyOwner& owner, const std::vector<T*>& shares) {
  const int64_t keys = t.plan.keys(owner.sequence), dim = t.plan.dim;
  parallel_for(keys, 256, [&](int64_t begin, int64_t end) {
    Scratch<T> sum(padded<T>(dim));
    for (int64_t j = begin; j < end; ++j) {
      for (const bool of_values : {false, true}) {
        const int64_t at = (of_values ? keys + j : j) * dim;
        std::fill_n(sum.data(), dim, T(0));
        for (int64_t piece = owner.first_piece; piece < owner.first_piece + owner.pieces; ++piece) {
          const T* share = shares[size_t(piece)] + at;
          for (int64_t i = 0; i < dim; ++i) sum[i] += share[i];
        }
        write_row(sum.data(), dim, T(1), of_values ? t.gv : t.gk, t.plan.kv_offsets[owner.sequence] + j, owner.kv_head);
      }
    }
  });
}

// Few heads and sequences leave threads idle: their rows are then cut into pieces, at least four blocks each, since
// every piece reads the keys again. The cut depends on the sizes alone.
std::vector<AttentionPiece> cut_for_backward(const AttentionPlan& plan) {
  constexpr int64_t enough_pieces = 32;
  const int64_t pieces_each =
      std::max<int64_t>(1, enough_pieces / std::max<int64_t>(1, plan.sequences * plan.kv_heads));
  int64_t most_rows = 1;
  for (int64_t b = 0; b < plan.sequences; ++b) most_rows = std::max(most_rows, plan.rows(b));
  const int64_t blocks = (most_rows + block_rows - 1) / block_rows;
  return cut_rows(plan, std::max<int64_t>(4, (blocks + pieces_each - 1) / pieces_each) * block_rows);
}

template <class T>
void attention_backward_as(const AttentionGradient& t) {
  const std::vector<AttentionPiece> pieces = cut_for_backward(t.plan);
  const std::vector<KeyOwner> owners = owners_of(t.plan, pieces);
  int64_t most_rows = 0;
  for (const AttentionPiece& piece : pieces) most_rows = std::max(most_rows, piece.rows.size());
  std::vector<Scratch<T>> memory;
  std::vector<T*> shares(pieces.size(), nullptr);
  for (const KeyOwner& owner : owners) {
    for (int64_t i = 0; owner.pieces > 1 && i < owner.pieces; ++i) {
      memory.emplace_back(2 * t.plan.keys(owner.sequence) * t.plan.dim);
      shares[size_t(owner.first_piece + i)] = memory.back().data();
    }
  }
  parallel_for_pieces(pieces, [&](int64_t begin, int64_t end) {
    Backward<T> backward(t, most_rows);
    for (int64_t i = begin; i < end; ++i) backward.run(pieces[size_t(i)], shares[size_t(i)]);
  });
  for (const KeyOwner& owner : owners)
    if (owner.pieces != 1) sum_shares(t, owner, shares);
}

void run_attention_backward(const AttentionGradient& t) {
  if (t.q.dtype == DType::f64)
    attention_backward_as<double>(t);
  else
    attention_backward_as<float>(t);
}

}  // namespace
}  // namespace mora::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mora::kernels::cpu {

HWY_EXPORT(run_attention_backward);

void attention_backward(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& q_offsets,
                        const Tensor& kv_offsets, const Tensor& y, const Tensor& lse, const Tensor& gy, Tensor& gq,
                        Tensor& gk, Tensor& gv, const AttentionShape& shape) {
  const AttentionPlan plan = plan_attention(q, k, v, q_offsets, kv_offsets, y, lse, shape);
  HWY_DYNAMIC_DISPATCH(run_attention_backward)(plan_attention_gradient(plan, q, k, v, y, lse, gy, gq, gk, gv));
}

}  // namespace mora::kernels::cpu
#endif
