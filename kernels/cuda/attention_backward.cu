// The gradients of attention, with the weights computed again from the scores and lse: for a score s_ij of weight
// p_ij = exp(s_ij − lse_i), with δ_i = Σ y_i·gy_i (Dao et al. 2022, "FlashAttention", algorithm 4),
//   gv_j = Σ_i p_ij·gy_i,   gs_ij = p_ij·(gy_i·v_j − δ_i),   gq_i = scale·Σ_j gs_ij·k_j,   gk_j = scale·Σ_i gs_ij·q_i.
// One kernel owns rows, the other keys, each in a fixed order: no sum depends on when a block runs. Each computes the
// scores with what it owns as rows, so that they are weights of what it walks over. Of that, what is needed first and
// last (k, or q) has two tiles where they are computed by warps: the next one comes meanwhile.
#include "kernels/cuda/attention_tiles.h"

namespace mora::kernels::cuda {
namespace {

template <class T>
struct GradientInputs {
  using C = Compute<T>;
  Packing packing;
  Heads<const T> q, k, v, gy;
  Array<const C> lse;

  // p of a score. A row that saw nothing but −∞ has no weights.
  SIMT_DEVICE C log2_of_sum(C row_lse) const { return row_lse == C(-INFINITY) ? C(INFINITY) : row_lse * C(log2_e); }
  template <class P>
  SIMT_DEVICE C weight(C score, C log2_sum) const {
    return P::power_of_2(score * C(packing.scale * log2_e) - log2_sum);
  }
};

// gq, and delta for the other kernel.
template <class T, int Width>
struct AttentionQueryGradient {
  using C = Compute<T>;
  using P = Products<T, Width, 4, 2, Width <= 64 ? 64 : 32>;
  static constexpr int threads = P::threads, R = P::R;
  static constexpr int row_bytes = tile_bytes<T>(P::rows, Width), key_bytes = tile_bytes<T>(P::walked, Width);
  static constexpr int products_at = 2 * row_bytes + (1 + P::buffers) * key_bytes;
  static constexpr int shared_bytes = products_at + P::bytes;

  GradientInputs<T> in;
  Heads<const T> y;
  Array<C> delta;
  Heads<T> gq;

  struct Rows {
    C log2_sum[R], delta[R], sum[R][P::S];
  };

  SIMT_DEVICE void operator()() const {
    const Packing& packing = in.packing;
    const RowTile tile(packing, P::rows);
    if (tile.is_empty()) return;
    const auto& [sequence, first, last] = tile;
    const auto [begin, end] = tile.keys();
    int key = begin / P::walked * P::walked, turn = 0;
    load_rows<P::rows, Width>(in.q, packing.dim, sequence, first, queries());
    load_rows<P::rows, Width>(in.gy, packing.dim, sequence, first, gradients());
    if (key < end) load(sequence, key, turn), load_values(sequence, key);
    simt::wait_for_copies();
    simt::barrier();
    Rows rows = begin_rows(sequence, first);
    while (key < end) {
      const int next = key + P::walked;
      if (P::buffers == 2 && next < end) load(sequence, next, 1 - turn);
      C weights[R][P::K], products[R][P::K];
      P{products_at}.scores(queries(), keys(turn), packing.dim, weights);
      P{products_at}.scores(gradients(), values(), packing.dim, products);
      simt::barrier();
      if (next < end) load_values(sequence, next);
      differentiate(rows, sequence, first, last, key, weights, products);
      P{products_at}.add_weighted(weights, keys(turn), rows.sum);
      if (P::buffers == 1) {
        simt::barrier();
        if (next < end) load(sequence, next, turn);
      } else {
        turn = 1 - turn;
      }
      simt::wait_for_copies();
      simt::barrier();
      key = next;
    }
    SIMT_UNROLL
    for (int i = 0; i < R; ++i) {
      const int row = first + P::row(i);
      if (row < sequence.rows())
        store_head<P>(gq, gq.at(sequence.place(row)), packing.dim, rows.sum[i], C(packing.scale));
    }
  }

 private:
  SIMT_DEVICE Tile<T> queries() const { return tile_at<T>(0, P::rows, Width); }
  SIMT_DEVICE Tile<T> gradients() const { return tile_at<T>(row_bytes, P::rows, Width); }
  SIMT_DEVICE Tile<T> values() const { return tile_at<T>(2 * row_bytes, P::walked, Width); }
  SIMT_DEVICE Tile<T> keys(int turn) const {
    return tile_at<T>(2 * row_bytes + (1 + turn) * key_bytes, P::walked, Width);
  }
  SIMT_DEVICE void load(const Sequence& sequence, int key, int turn) const {
    load_keys<P::walked, Width>(in.k, in.packing.dim, sequence, key, keys(turn));
  }
  SIMT_DEVICE void load_values(const Sequence& sequence, int key) const {
    load_keys<P::walked, Width>(in.v, in.packing.dim, sequence, key, values());
  }

  SIMT_DEVICE Rows begin_rows(const Sequence& sequence, int first) const {
    Rows rows{};
    SIMT_UNROLL
    for (int i = 0; i < R; ++i) {
      const int in_tile = P::row(i), row = first + in_tile;
      const bool exists = row < sequence.rows();
      C sum = 0;
      if (exists) {
        const int64_t at = y.at(sequence.place(row));
        SIMT_UNROLL
        SIMT_UNROLL
        for (int j = 0; j < P::S; j += P::pack) {
          const int column = P::column(j);
          const auto left = load_pack<P::pack>(y, at, column, in.packing.dim);
          const auto right = gradients().template pack<P::pack>(in_tile, column);
          for (int l = 0; l < P::pack; ++l) sum += widen(left.values[l]) * widen(right.values[l]);
        }
      }
      rows.delta[i] = P::row_sum(sum);
      rows.log2_sum[i] = exists ? in.log2_of_sum(in.lse[sequence.statistic_at(row)]) : C(INFINITY);
      if (exists && P::first_of_row()) delta[sequence.statistic_at(row)] = rows.delta[i];
    }
    return rows;
  }

  // Scores become gs; the tile's keys begin at `key`.
  SIMT_DEVICE void differentiate(const Rows& rows, const Sequence& sequence, int first, int last, int key,
                                 C (&weights)[R][P::K], const C (&products)[R][P::K]) const {
    SIMT_UNROLL
    for (int i = 0; i < R; ++i) {
      SIMT_UNROLL
      for (int j = 0; j < P::K; ++j)
        weights[i][j] = in.template weight<P>(weights[i][j], rows.log2_sum[i]) * (products[i][j] - rows.delta[i]);
    }
    if (sequence.all_see(first, last, {key, key + P::walked})) return;
    SIMT_UNROLL
    for (int i = 0; i < R; ++i) {
      const Range visible = sequence.visible_to(first + P::row(i));
      SIMT_UNROLL
      for (int j = 0; j < P::K; ++j)
        if (!visible.holds(key + P::walked_row(j))) weights[i][j] = 0;
    }
  }
};

// gk and gv.
template <class T, int Width>
struct AttentionKeyGradient {
  using C = Compute<T>;
  using P = Products<T, Width, 4, Width <= 64 ? 2 : 1, Width <= 64 ? 32 : 64>;
  static constexpr int threads = P::threads, R = P::R;
  static constexpr int key_bytes = tile_bytes<T>(P::rows, Width), row_bytes = tile_bytes<T>(P::walked, Width);
  static constexpr int statistics_at = 2 * key_bytes + (1 + P::buffers) * row_bytes;
  static constexpr int products_at = statistics_at + 2 * P::buffers * P::walked * int(sizeof(C));
  static constexpr int shared_bytes = products_at + P::bytes;

  GradientInputs<T> in;
  Array<const C> delta;
  Heads<T> gk, gv;

  struct Sums {
    C keys[R][P::S], values[R][P::S];
  };

  SIMT_DEVICE void operator()() const {
    const Packing& packing = in.packing;
    const auto [b, key] = tile_place(packing.kv_offsets, packing.sequences, 1, P::rows, simt::block_index().x);
    const Sequence sequence(packing, b, simt::block_index().y);
    if (key >= sequence.keys) return;
    load_keys<P::rows, Width>(in.k, packing.dim, sequence, key, keys());
    load_keys<P::rows, Width>(in.v, packing.dim, sequence, key, values());
    Sums sums{};
    const Range rows = sequence.seeing({key, key + P::rows});
    int first = rows.begin, turn = 0;
    if (first < rows.end) load(sequence, first, turn), load_gradients(sequence, first);
    while (first < rows.end) {
      simt::wait_for_copies();
      simt::barrier();
      const int next = first + P::walked;
      if (P::buffers == 2 && next < rows.end) load(sequence, next, 1 - turn);
      C weights[R][P::K], products[R][P::K];
      P{products_at}.scores(keys(), queries(turn), packing.dim, weights);
      P{products_at}.scores(values(), gradients(), packing.dim, products);
      weigh(sequence, key, first, turn, weights);
      P{products_at}.add_weighted(weights, gradients(), sums.values);
      simt::barrier();
      if (next < rows.end) load_gradients(sequence, next);
      differentiate(turn, weights, products);
      P{products_at}.add_weighted(weights, queries(turn), sums.keys);
      if (P::buffers == 1) {
        simt::barrier();
        if (next < rows.end) load(sequence, next, turn);
      } else {
        turn = 1 - turn;
      }
      first = next;
    }
    SIMT_UNROLL
    for (int i = 0; i < R; ++i) {
      const int at = key + P::row(i);
      if (at >= sequence.keys) continue;
      const int token = sequence.first_key + at;
      store_head<P>(gk, gk.at(token, sequence.kv_head), packing.dim, sums.keys[i], C(packing.scale));
      store_head<P>(gv, gv.at(token, sequence.kv_head), packing.dim, sums.values[i], C(1));
    }
  }

 private:
  SIMT_DEVICE Tile<T> keys() const { return tile_at<T>(0, P::rows, Width); }
  SIMT_DEVICE Tile<T> values() const { return tile_at<T>(key_bytes, P::rows, Width); }
  SIMT_DEVICE Tile<T> gradients() const { return tile_at<T>(2 * key_bytes, P::walked, Width); }
  SIMT_DEVICE Tile<T> queries(int turn) const {
    return tile_at<T>(2 * key_bytes + (1 + turn) * row_bytes, P::walked, Width);
  }
  // lse of the tile's rows, then their delta.
  SIMT_DEVICE simt::Shared<C> statistics(int turn) const {
    constexpr int count = 2 * P::walked;
    return simt::dynamic_shared<C>(statistics_at + turn * count * int(sizeof(C)), count);
  }

  SIMT_DEVICE void load(const Sequence& sequence, int first, int turn) const {
    load_rows<P::walked, Width>(in.q, in.packing.dim, sequence, first, queries(turn));
    const simt::Shared<C> to = statistics(turn);
    for (int i = simt::thread_index(); i < P::walked; i += threads) {
      const int row = first + i;
      if (row < sequence.rows()) {
        const int64_t at = sequence.statistic_at(row);
        simt::copy_async<1>(to, i, in.lse, at);
        simt::copy_async<1>(to, P::walked + i, delta, at);
      } else {
        to[i] = C(-INFINITY);
        to[P::walked + i] = 0;
      }
    }
  }
  SIMT_DEVICE void load_gradients(const Sequence& sequence, int first) const {
    load_rows<P::walked, Width>(in.gy, in.packing.dim, sequence, first, gradients());
  }

  // Scores become weights; the block's keys begin at `key`, the tile's rows at `first`.
  SIMT_DEVICE void weigh(const Sequence& sequence, int key, int first, int turn, C (&weights)[R][P::K]) const {
    SIMT_UNROLL
    for (int j = 0; j < P::K; ++j) {
      const C log2_sum = in.log2_of_sum(C(statistics(turn)[P::walked_row(j)]));
      SIMT_UNROLL
      for (int i = 0; i < R; ++i) weights[i][j] = in.template weight<P>(weights[i][j], log2_sum);
    }
    const int last = (first + P::walked < sequence.rows() ? first + P::walked : sequence.rows()) - 1;
    if (sequence.all_see(first, last, {key, key + P::rows})) return;
    SIMT_UNROLL
    for (int j = 0; j < P::K; ++j) {
      const Range visible = sequence.visible_to(first + P::walked_row(j));
      SIMT_UNROLL
      for (int i = 0; i < R; ++i)
        if (!visible.holds(key + P::row(i))) weights[i][j] = 0;
    }
  }
  // Weights become gs.
  SIMT_DEVICE void differentiate(int turn, C (&weights)[R][P::K], const C (&products)[R][P::K]) const {
    SIMT_UNROLL
    for (int j = 0; j < P::K; ++j) {
      const C row_delta = statistics(turn)[P::walked + P::walked_row(j)];
      SIMT_UNROLL
      for (int i = 0; i < R; ++i) weights[i][j] *= products[i][j] - row_delta;
    }
  }
};

}  // namespace

void launch_attention_backward(const AttentionView& view, const AttentionGradientView& g) {
  with_tiles(view, [&]<class T, int Width>() {
    using C = Compute<T>;
    using QueryGradient = AttentionQueryGradient<T, Width>;
    using KeyGradient = AttentionKeyGradient<T, Width>;
    const auto read = [&](const HeadsView& x) { return Heads<const T>(x, view.dim); };
    const auto written = [&](const HeadsView& x) { return Heads<T>(x, view.dim); };
    const Packing packing(view);
    const GradientInputs<T> in{packing, read(view.q), read(view.k), read(view.v), read(g.gy), elements<const C>(g.lse)};
    const int group = packing.group.divisor;
    simt::launch({tile_blocks(view.queries, view.sequences, group, QueryGradient::P::rows), view.kv_heads},
                 QueryGradient{in, read(g.y), elements<C>(g.delta), written(g.gq)}, QueryGradient::shared_bytes);
    simt::launch({tile_blocks(view.keys, view.sequences, 1, KeyGradient::P::rows), view.kv_heads},
                 KeyGradient{in, elements<const C>(g.delta), written(g.gk), written(g.gv)}, KeyGradient::shared_bytes);
  });
}

}  // namespace mora::kernels::cuda
