// The gradients of attention, with the weights computed again from the scores and lse: for a score s_ij of weight
// p_ij = exp(s_ij − lse_i), with δ_i = Σ y_i·gy_i (Dao et al. 2022, "FlashAttention", algorithm 4),
//   gv_j = Σ_i p_ij·gy_i,   gs_ij = p_ij·(gy_i·v_j − δ_i),   gq_i = scale·Σ_j gs_ij·k_j,   gk_j = scale·Σ_i gs_ij·q_i.
// One kernel owns rows, the other keys, each in a fixed order: no sum depends on when a block runs.
#include "kernels/cuda/attention_tiles.h"

namespace mora::kernels::cuda {
namespace {

// What both kernels read, and the square of weights they compute.
template <class T, int Width>
struct Gradient {
  using C = Compute<T>;
  static constexpr int side = tile_side<T>(4, Width), R = side / square_side, S = Width / square_side;
  static constexpr int head_bytes = tile_bytes<T>(side, Width);
  static constexpr int shared_bytes = 4 * head_bytes + tile_bytes<C>(side, side);

  Packing packing;
  Heads<const T> q, k, v, gy;
  Array<const C> lse;

  SIMT_DEVICE Tile<T> queries() const { return tile_at<T>(0, side, Width); }
  SIMT_DEVICE Tile<T> gradients() const { return tile_at<T>(head_bytes, side, Width); }
  SIMT_DEVICE Tile<T> keys() const { return tile_at<T>(2 * head_bytes, side, Width); }
  SIMT_DEVICE Tile<T> values() const { return tile_at<T>(3 * head_bytes, side, Width); }
  SIMT_DEVICE Tile<C> square() const { return tile_at<C>(4 * head_bytes, side, side); }

  SIMT_DEVICE void load_row_tiles(const StackedRows& rows, int first) const {
    load_rows<side, Width>(q, packing.dim, rows, first, queries());
    load_rows<side, Width>(gy, packing.dim, rows, first, gradients());
  }
  SIMT_DEVICE void load_key_tiles(const KeyRows& rows, int first) const {
    load_keys<side, Width>(k, packing.dim, rows, first, keys());
    load_keys<side, Width>(v, packing.dim, rows, first, values());
  }

  // What the thread needs of its rows.
  struct Rows {
    C lse[R], delta[R];
    Range visible[R];
  };
  // Without delta.
  SIMT_DEVICE Rows begin_rows(int sequence, const StackedRows& stacked, int first) const {
    Rows rows{};
    for (int i = 0; i < R; ++i) {
      const int row = first + square_row() * R + i;
      if (row >= stacked.count) continue;
      rows.visible[i] = packing.visible_to(sequence, row / stacked.group);
      rows.lse[i] = lse[statistic_at(stacked, row)];
      if (rows.lse[i] == C(-INFINITY)) rows.visible[i] = {0, 0};
    }
    return rows;
  }
  SIMT_DEVICE int64_t statistic_at(const StackedRows& stacked, int row) const {
    return int64_t{stacked.token(row)} * packing.heads + stacked.head(row);
  }

  // weights: p, of the keys from `key` on.
  SIMT_DEVICE void weigh(const Rows& rows, int key, C (&weights)[R][R]) const {
    add_rows_by_rows(queries(), keys(), padded_depth(packing.dim), weights);
    const C scale = C(packing.scale * log2_e);
    for (int i = 0; i < R; ++i) {
      for (int j = 0; j < R; ++j) {
        const int at = key + square_column() + square_side * j;
        const bool seen = at >= rows.visible[i].begin && at < rows.visible[i].end;
        weights[i][j] = seen ? exp2(weights[i][j] * scale - rows.lse[i] * C(log2_e)) : C(0);
      }
    }
  }
  // weights becomes gs.
  SIMT_DEVICE void differentiate(const Rows& rows, C (&weights)[R][R]) const {
    C products[R][R] = {};
    add_rows_by_rows(gradients(), values(), padded_depth(packing.dim), products);
    for (int i = 0; i < R; ++i)
      for (int j = 0; j < R; ++j) weights[i][j] *= products[i][j] - rows.delta[i];
  }
  SIMT_DEVICE void put_square(const C (&weights)[R][R]) const {
    for (int i = 0; i < R; ++i)
      for (int j = 0; j < R; ++j) square().set(square_row() * R + i, square_column() + square_side * j, weights[i][j]);
  }
};

// gq, and delta for the other kernel.
template <class T, int Width>
struct AttentionQueryGradient {
  using Shared = Gradient<T, Width>;
  using C = Compute<T>;
  static constexpr int threads = square_threads, side = Shared::side, R = Shared::R, S = Shared::S;

  Shared shared;
  Heads<const T> y;
  Array<C> delta;
  Heads<T> gq;

  SIMT_DEVICE void operator()() const {
    const Packing& packing = shared.packing;
    const int block = simt::grid_size().x - 1 - simt::block_index().x, kv_head = simt::block_index().y;
    const auto [b, first] = tile_place(packing.q_offsets, packing.sequences, packing.group, side, block);
    const StackedRows stacked(packing, b, kv_head);
    const KeyRows key_rows(packing, b, kv_head);
    if (first >= stacked.count) return;
    shared.load_row_tiles(stacked, first);
    simt::barrier();
    auto rows = shared.begin_rows(b, stacked, first);
    compute_delta(rows, stacked, first);
    C sum[R][S] = {};
    const int last = first + side < stacked.count ? first + side : stacked.count;
    const int from = packing.visible_to(b, first / stacked.group).begin;
    const int to = packing.visible_to(b, (last - 1) / stacked.group).end;
    for (int key = from / side * side; key < to; key += side) {
      shared.load_key_tiles(key_rows, key);
      simt::barrier();
      C weights[R][R] = {};
      shared.weigh(rows, key, weights);
      shared.differentiate(rows, weights);
      shared.put_square(weights);
      simt::warp_barrier();  // a row is read by the warp that wrote it
      add_rows_by_columns(shared.square(), shared.keys(), side, sum);
      simt::barrier();
    }
    for (int i = 0; i < R; ++i) {
      const int row = first + square_row() * R + i;
      if (row < stacked.count)
        store_head(gq, gq.at(stacked.token(row), stacked.head(row)), packing.dim, sum[i], C(packing.scale));
    }
  }

  SIMT_DEVICE void compute_delta(typename Shared::Rows& rows, const StackedRows& stacked, int first) const {
    for (int i = 0; i < R; ++i) {
      const int in_tile = square_row() * R + i, row = first + in_tile;
      C sum = 0;
      if (row < stacked.count) {
        const int64_t at = y.at(stacked.token(row), stacked.head(row));
        for (int c = square_column(); c < shared.packing.dim; c += square_side)
          sum += widen(y.elements[at + c]) * widen(shared.gradients().get(in_tile, c));
      }
      rows.delta[i] = square_row_sum(sum);
      if (row < stacked.count && square_column() == 0) delta[shared.statistic_at(stacked, row)] = rows.delta[i];
    }
  }
};

// gk and gv.
template <class T, int Width>
struct AttentionKeyGradient {
  using Shared = Gradient<T, Width>;
  using C = Compute<T>;
  static constexpr int threads = square_threads, side = Shared::side, R = Shared::R, S = Shared::S;

  Shared shared;
  Array<const C> delta;
  Heads<T> gk, gv;

  SIMT_DEVICE void operator()() const {
    const Packing& packing = shared.packing;
    const int kv_head = simt::block_index().y;
    const auto [b, key] = tile_place(packing.kv_offsets, packing.sequences, 1, side, simt::block_index().x);
    const StackedRows stacked(packing, b, kv_head);
    const KeyRows key_rows(packing, b, kv_head);
    if (key >= key_rows.count) return;
    shared.load_key_tiles(key_rows, key);
    C key_sum[R][S] = {}, value_sum[R][S] = {};
    const Range queries = packing.seeing(b, {key, key + side});
    for (int first = queries.begin * packing.group; first < queries.end * packing.group; first += side) {
      shared.load_row_tiles(stacked, first);
      simt::barrier();
      auto rows = shared.begin_rows(b, stacked, first);
      read_delta(rows, stacked, first);
      C weights[R][R] = {};
      shared.weigh(rows, key, weights);
      shared.put_square(weights);
      simt::barrier();
      add_columns_by_columns(shared.square(), shared.gradients(), side, value_sum);
      simt::barrier();
      shared.differentiate(rows, weights);
      shared.put_square(weights);
      simt::barrier();
      add_columns_by_columns(shared.square(), shared.queries(), side, key_sum);
      simt::barrier();
    }
    for (int i = 0; i < R; ++i) {
      const int at = key + square_row() * R + i;
      if (at >= key_rows.count) continue;
      const int token = key_rows.first_token + at;
      store_head(gk, gk.at(token, kv_head), packing.dim, key_sum[i], C(packing.scale));
      store_head(gv, gv.at(token, kv_head), packing.dim, value_sum[i], C(1));
    }
  }

  SIMT_DEVICE void read_delta(typename Shared::Rows& rows, const StackedRows& stacked, int first) const {
    for (int i = 0; i < R; ++i) {
      const int row = first + square_row() * R + i;
      if (row < stacked.count) rows.delta[i] = delta[shared.statistic_at(stacked, row)];
    }
  }
};

}  // namespace

void launch_attention_backward(const AttentionView& view, const AttentionGradientView& g) {
  with_tiles(view, [&]<class T, int Width>() {
    using Shared = Gradient<T, Width>;
    using C = typename Shared::C;
    const auto in = [&](const HeadsView& x) { return Heads<const T>(x, view.dim); };
    const auto out = [&](const HeadsView& x) { return Heads<T>(x, view.dim); };
    const Packing packing(view);
    const Shared shared{packing, in(view.q), in(view.k), in(view.v), in(g.gy), elements<const C>(g.lse)};
    simt::launch({tile_blocks(view.queries, view.sequences, packing.group, Shared::side), view.kv_heads},
                 AttentionQueryGradient<T, Width>{shared, in(g.y), elements<C>(g.delta), out(g.gq)},
                 Shared::shared_bytes);
    simt::launch({tile_blocks(view.keys, view.sequences, 1, Shared::side), view.kv_heads},
                 AttentionKeyGradient<T, Width>{shared, elements<const C>(g.delta), out(g.gk), out(g.gv)},
                 Shared::shared_bytes);
  });
}

}  // namespace mora::kernels::cuda
