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

template <class E>
class Backward {
  using T = SumOf<E>;

 public:
  Backward(const AttentionGradient& gradient, int64_t most_rows)
      : plan_(gradient.plan),
        t_(gradient),
        dim_(plan_.dim),
        multiply_(dim_, std::max(block_rows, block_keys)),
        lse_(most_rows),
        delta_(most_rows) {
    const int64_t keys = std::min(block_keys, plan_.longest);
    const int64_t row_stride = padded_stride<T>(dim_);
    const int64_t key_stride = padded_stride<T>((padded<T>(keys) + 3) / 4 * 4);
    const int64_t rows = tiled_rows(most_rows);
    queries_ = take<E>(rows, row_stride);
    gy_ = take<E>(rows, row_stride);
    gq_ = take<T>(rows, row_stride);
    transposed_keys_ = take<E>(elements<E>(dim_), key_stride);
    transposed_values_ = take<E>(elements<E>(dim_), key_stride);
    keys_ = take<E>(elements<E>(padded_depth<E>(keys)), row_stride);
    gk_ = take<T>(tiled_rows(keys), row_stride);
    gv_ = take<T>(tiled_rows(keys), row_stride);
    p_ = take<T>(block_rows, key_stride);
    gs_ = take<T>(block_rows, key_stride);
    buffer_ = take<E>(4, row_stride);
    row_ = take<T>(2, row_stride);
    if constexpr (std::is_same_v<E, T>) {
      query_depth_ = queries_;
      gy_depth_ = gy_;
      p_depth_ = p_;
      gs_depth_ = gs_rows_ = gs_;
    } else {
      query_depth_ = take<E>(elements<E>(padded_depth<E>(most_rows)), row_stride);
      gy_depth_ = take<E>(elements<E>(padded_depth<E>(most_rows)), row_stride);
      p_depth_ = take<E>(block_rows / 2, key_stride);
      gs_depth_ = take<E>(block_rows / 2, key_stride);
      gs_rows_ = take<E>(block_rows, padded_stride<E>(elements<E>(key_stride)));
    }
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
  template <class Of>
  Block<Of> take(int64_t rows, int64_t stride) {
    memory_.emplace_back(rows * stride * int64_t(sizeof(Of)));
    return {reinterpret_cast<Of*>(memory_.back().data()), stride};
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
      read_factors(t_.q, token, head, dim_, queries_.row(i));
      read_factors(t_.gy, token, head, dim_, gy_.row(i));
      read_row(t_.y, token, head, dim_, T(1), row_.row(0));
      read_row(t_.gy, token, head, dim_, T(1), row_.row(1));
      auto delta = hn::Zero(d);
      for (int64_t j = 0; j < dim_; j += lanes(d))
        delta = hn::MulAdd(hn::Load(d, row_.row(0) + j), hn::Load(d, row_.row(1) + j), delta);
      delta_[i] = hn::GetLane(hn::SumOfLanes(d, delta));
      const T lse = static_cast<const T*>(t_.lse)[token * plan_.heads + head];
      lse_[i] = lse == -std::numeric_limits<T>::infinity() ? T(0) : lse;  // −inf − −inf would be NaN
    });
    if constexpr (!std::is_same_v<E, T>) {
      pair_rows(queries_, piece_->rows.size(), dim_, query_depth_);
      pair_rows(gy_, piece_->rows.size(), dim_, gy_depth_);
      pad_depth(piece_->rows.size(), dim_, query_depth_);
      pad_depth(piece_->rows.size(), dim_, gy_depth_);
    }
  }

  void read_keys(Range block) {
    const int64_t first = plan_.kv_offsets[piece_->sequence];
    const Range tokens{first + block.begin, first + block.end};
    read_transposed(t_.k, tokens, piece_->kv_head, dim_, transposed_keys_, buffer_);
    read_transposed(t_.v, tokens, piece_->kv_head, dim_, transposed_values_, buffer_);
    read_depth(t_.k, tokens, piece_->kv_head, dim_, keys_, buffer_);
  }

  // The scores of some of the piece's rows against one block of keys, and what they add to the three gradients.
  void add_rows(Range rows, Range block) {
    const int64_t m = rows.size();
    ranges_.set(plan_, piece_->sequence, {piece_->rows.begin + rows.begin, piece_->rows.begin + rows.end}, block);
    if (ranges_.of({0, m}).empty()) return;
    const auto from_first = [&](auto all) { return decltype(all){all.row(rows.begin), all.stride}; };
    const auto depth_from_first = [&](Block<E> all) {
      return Block<E>{all.row(rows.begin / Element<E>::factors), all.stride};
    };
    const auto seen_columns = [&](Range tile) { return Extent{.columns = ranges_.of(tile), .depth = {0, dim_}}; };
    multiply_(m, as_is(from_first(queries_)), transposed_keys_, p_, false, seen_columns);
    multiply_(m, as_is(from_first(gy_)), transposed_values_, gs_, false, seen_columns);
    for (int64_t i = 0; i < m; i += Element<E>::factors) differentiate(i, m, rows.begin + i, block.size());
    pad_depth(m, block.size(), p_depth_);
    pad_depth(m, block.size(), gs_depth_);

    const auto seeing_rows = [&](Range keys) { return Extent{.columns = {0, dim_}, .depth = ranges_.seeing(keys, m)}; };
    multiply_(block.size(), transposed(p_depth_), depth_from_first(gy_depth_), gv_, true, seeing_rows);
    multiply_(block.size(), transposed(gs_depth_), depth_from_first(query_depth_), gk_, true, seeing_rows);
    multiply_(m, as_is(gs_rows_), keys_, from_first(gq_), true, [&](Range tile) {
      return Extent{.columns = {0, dim_}, .depth = ranges_.of(tile)};
    });
  }

  // Lanes of p and gs of a row, from its scores and its gy·vᵀ; zero where hidden.
  struct Derivative {
    hn::Vec<hn::ScalableTag<T>> p, gs;
  };
  // j ↦ the lanes [j, …) of row i of the block, which is row `row` of the piece.
  auto derivative_of(int64_t i, int64_t row) const {
    const hn::ScalableTag<T> d;
    return [d, scores = p_.row(i), products = gs_.row(i), scale = T(plan_.shape.scale), lse = lse_[row],
            delta = delta_[row], begin = ranges_.begin[i], end = ranges_.end[i]](int64_t j) HWY_ATTR {
      const auto score = hn::MulSub(hn::Load(d, scores + j), hn::Set(d, scale), hn::Set(d, lse));
      const auto p = within(d, exp_nonpositive(d, score), j, begin, end, T(0));
      const auto gp = hn::Sub(hn::Load(d, products + j), hn::Set(d, delta));
      return Derivative{p, within(d, hn::Mul(p, gp), j, begin, end, T(0))};  // hidden products may be no numbers
    };
  }

  // Row i of m, or rows i and i + 1 where elements hold two: scores become p and gy·vᵀ becomes gs.
  void differentiate(int64_t i, int64_t m, int64_t row, int64_t keys) {
    const hn::ScalableTag<T> d;
    const Range seen = ranges_.of({i, std::min(m, i + Element<E>::factors)});
    const int64_t first = seen.begin / lanes(d) * lanes(d), last = padded<T>(seen.end);
    const auto derivative = derivative_of(i, row);
    if constexpr (std::is_same_v<E, T>) {
      for (int64_t j = first; j < seen.end; j += lanes(d)) {
        const auto [p, gs] = derivative(j);
        hn::Store(p, d, p_.row(i) + j);
        hn::Store(gs, d, gs_.row(i) + j);
      }
      for (T* hidden : {p_.row(i), gs_.row(i)}) {
        clear_factors(hidden, 0, first);
        clear_factors(hidden, last, keys);
      }
    } else {
      const auto next_derivative = derivative_of(std::min(i + 1, m - 1), row + std::min<int64_t>(1, m - 1 - i));
      const auto present = hn::FirstN(d, i + 1 < m ? hn::Lanes(d) : 0);
      E *p_pairs = p_depth_.row(i / 2), *gs_pairs = gs_depth_.row(i / 2);
      E *gs0 = gs_rows_.row(i), *gs1 = gs_rows_.row(i + 1);
      for (int64_t j = first; j < seen.end; j += lanes(d)) {
        const auto [p, gs] = derivative(j);
        const auto [next_p, next_gs] = next_derivative(j);
        store_pairs(d, p, hn::IfThenElseZero(present, next_p), p_pairs + j);
        store_pairs(d, gs, hn::IfThenElseZero(present, next_gs), gs_pairs + j);
        store(gs, d, factors_of(gs0) + j);
        store(next_gs, d, factors_of(gs1) + j);
      }
      for (E* pairs : {p_pairs, gs_pairs}) {
        clear_factors(pairs, 0, 2 * first);
        clear_factors(pairs, 2 * last, 2 * keys);
      }
      for (E* hidden : {gs0, gs1}) {
        clear_factors(hidden, 0, first);
        clear_factors(hidden, last, padded_depth<E>(padded<T>(keys)));
      }
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
        write_row(gk, dim_, T(plan_.shape.scale), t_.gk, plan_.kv_offsets[piece_->sequence] + j, piece_->kv_head);
        write_row(gv, dim_, T(1), t_.gv, plan_.kv_offsets[piece_->sequence] + j, piece_->kv_head);
      }
    }
  }

  const AttentionPlan& plan_;
  const AttentionGradient& t_;
  int64_t dim_;
  const AttentionPiece* piece_ = nullptr;
  Products<E> multiply_;
  std::vector<Scratch<std::byte>> memory_;
  Scratch<T> lse_, delta_;
  Block<E> queries_, gy_;                         // (rows, D)
  Block<E> query_depth_, gy_depth_;               // (rows, D): the same as the depth of products
  Block<T> gq_;                                   // (rows, D)
  Block<E> transposed_keys_, transposed_values_;  // (D, keys)
  Block<E> keys_;                                 // (keys, D), as depth
  Block<T> gk_, gv_;                              // (keys, D)
  Block<T> p_, gs_;                               // (rows, keys): scores, and gy·vᵀ
  Block<E> p_depth_, gs_depth_, gs_rows_;         // (rows, keys): p and gs, in their place where they are of one type
  Block<E> buffer_;
  Block<T> row_;
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
        write_row(sum.data(), dim, of_values ? T(1) : T(t.plan.shape.scale), of_values ? t.gv : t.gk,
                  t.plan.kv_offsets[owner.sequence] + j, owner.kv_head);
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

template <class E>
void attention_backward_as(const AttentionGradient& t) {
  using T = SumOf<E>;
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
    Backward<E> backward(t, most_rows);
    for (int64_t i = begin; i < end; ++i) backward.run(pieces[size_t(i)], shares[size_t(i)]);
  });
  for (const KeyOwner& owner : owners)
    if (owner.pieces != 1) sum_shares(t, owner, shares);
}

void run_attention_backward(const AttentionGradient& t) {
  with_elements(t.q.dtype, [&]<class E>(E) { attention_backward_as<E>(t); });
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
