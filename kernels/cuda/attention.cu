// y = softmax(scale·q·kᵀ + mask)·v: a block takes a tile of rows, and walks over tiles of keys with the running maximum
// m and sum l of each row (Milakov & Gimelshein 2018; Dao et al. 2022, "FlashAttention"):
//   m' = max(m, max_j s_j),   p_j = 2^(s_j − m'),   l' = l·2^(m − m') + Σ_j p_j,   o' = o·2^(m − m') + p·v,
// with scores in units of log 2; at the end y = o / l, lse = (m + log₂ l)·ln 2.
#include "kernels/cuda/attention_tiles.h"

namespace mora::kernels::cuda {
namespace {

template <class T, int Width>
struct AttentionForward {
  using C = Compute<T>;
  static constexpr int threads = square_threads;
  static constexpr int side = tile_side<T>(3, Width), R = side / square_side, S = Width / square_side;
  static constexpr int head_bytes = tile_bytes<T>(side, Width);
  static constexpr int shared_bytes = 3 * head_bytes + tile_bytes<C>(side, side);

  Packing packing;
  Heads<const T> q, k, v;
  Heads<T> y;
  Array<C> lse;

  struct Rows {
    C maximum[R], sum[R], output[R][S];  // sum: this thread's share
    Range visible[R];
  };

  SIMT_DEVICE void operator()() const {
    // Later rows see more keys where the mask is causal: they begin first.
    const int block = simt::grid_size().x - 1 - simt::block_index().x, kv_head = simt::block_index().y;
    const auto [b, first] = tile_place(packing.q_offsets, packing.sequences, packing.group, side, block);
    const StackedRows stacked(packing, b, kv_head);
    const KeyRows key_rows(packing, b, kv_head);
    if (first >= stacked.count) return;
    load_rows<side, Width>(q, packing.dim, stacked, first, queries());
    Rows rows = begin(b, stacked, first);
    const int last = first + side < stacked.count ? first + side : stacked.count;
    const int from = packing.visible_to(b, first / stacked.group).begin;
    const int to = packing.visible_to(b, (last - 1) / stacked.group).end;
    for (int key = from / side * side; key < to; key += side) {
      load_keys<side, Width>(k, packing.dim, key_rows, key, keys());
      load_keys<side, Width>(v, packing.dim, key_rows, key, values());
      simt::barrier();
      attend(rows, key);
      simt::barrier();
    }
    write(rows, stacked, first);
  }

 private:
  SIMT_DEVICE Tile<T> queries() const { return tile_at<T>(0, side, Width); }
  SIMT_DEVICE Tile<T> keys() const { return tile_at<T>(head_bytes, side, Width); }
  SIMT_DEVICE Tile<T> values() const { return tile_at<T>(2 * head_bytes, side, Width); }
  SIMT_DEVICE Tile<C> weights() const { return tile_at<C>(3 * head_bytes, side, side); }

  SIMT_DEVICE Rows begin(int sequence, const StackedRows& stacked, int first) const {
    Rows rows;
    for (int i = 0; i < R; ++i) {
      const int row = first + square_row() * R + i;
      rows.visible[i] = row < stacked.count ? packing.visible_to(sequence, row / stacked.group) : Range{0, 0};
      rows.maximum[i] = -INFINITY;
      rows.sum[i] = 0;
      for (int j = 0; j < S; ++j) rows.output[i][j] = 0;
    }
    return rows;
  }

  // The tile of keys from `key` on.
  SIMT_DEVICE void attend(Rows& rows, int key) const {
    C scores[R][R] = {};
    add_rows_by_rows(queries(), keys(), padded_depth(packing.dim), scores);
    const C scale = C(packing.scale * log2_e);
    for (int i = 0; i < R; ++i) {
      C largest = -INFINITY;
      for (int j = 0; j < R; ++j) {
        const int at = key + square_column() + square_side * j;
        const bool seen = at >= rows.visible[i].begin && at < rows.visible[i].end;
        scores[i][j] = seen ? scores[i][j] * scale : C(-INFINITY);
        largest = fmax(largest, scores[i][j]);
      }
      const C maximum = fmax(rows.maximum[i], square_row_maximum(largest));
      const C origin = maximum == C(-INFINITY) ? C(0) : maximum;  // a row that has seen nothing yet
      const C kept = exp2(rows.maximum[i] - origin);
      rows.maximum[i] = maximum;
      rows.sum[i] *= kept;
      for (int j = 0; j < S; ++j) rows.output[i][j] *= kept;
      for (int j = 0; j < R; ++j) {
        const C weight = exp2(scores[i][j] - origin);
        rows.sum[i] += weight;
        weights().set(square_row() * R + i, square_column() + square_side * j, weight);
      }
    }
    simt::warp_barrier();  // a row's weights are read by the warp that wrote them
    add_rows_by_columns(weights(), values(), side, rows.output);
  }

  SIMT_DEVICE void write(const Rows& rows, const StackedRows& stacked, int first) const {
    for (int i = 0; i < R; ++i) {
      const C sum = square_row_sum(rows.sum[i]);
      const int row = first + square_row() * R + i;
      if (row >= stacked.count) continue;
      const int token = stacked.token(row), head = stacked.head(row);
      if (square_column() == 0) lse[int64_t{token} * packing.heads + head] = (rows.maximum[i] + log2(sum)) * C(ln_2);
      store_head(y, y.at(token, head), packing.dim, rows.output[i], sum == 0 ? C(0) : 1 / sum);
    }
  }
};

}  // namespace

void launch_attention(const AttentionView& view, const HeadsView& y, const View& lse) {
  with_tiles(view, [&]<class T, int Width>() {
    using Kernel = AttentionForward<T, Width>;
    const Packing packing(view);
    const auto heads = [&](const HeadsView& x) { return Heads<const T>(x, view.dim); };
    simt::launch({tile_blocks(view.queries, view.sequences, packing.group, Kernel::side), view.kv_heads},
                 Kernel{packing, heads(view.q), heads(view.k), heads(view.v), Heads<T>(y, view.dim),
                        elements<typename Kernel::C>(lse)},
                 Kernel::shared_bytes);
  });
}

}  // namespace mora::kernels::cuda
