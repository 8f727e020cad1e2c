// y = softmax(scale·q·kᵀ + mask)·v: a block takes a tile of rows, and walks over tiles of keys with the running maximum
// m and sum l of each row (Milakov & Gimelshein 2018; Dao et al. 2022, "FlashAttention"):
//   m' = max(m, max_j s_j),   p_j = 2^(s_j − m'),   l' = l·2^(m − m') + Σ_j p_j,   o' = o·2^(m − m') + p·v,
// with scores in units of log 2; at the end y = o / l, lse = (m + log₂ l)·ln 2. A tile of values comes while the scores
// are computed, the next one of keys while the values are multiplied.
#include "kernels/cuda/attention_tiles.h"

namespace mora::kernels::cuda {
namespace {

template <class T, int Width>
struct AttentionForward {
  using C = Compute<T>;
  using P = Products<T, Width, 3, 2, 64>;
  static constexpr int threads = P::threads, R = P::R;
  static constexpr int queries_bytes = tile_bytes<T>(P::rows, Width), keys_bytes = tile_bytes<T>(P::walked, Width);
  static constexpr int shared_bytes = queries_bytes + 2 * keys_bytes + P::bytes;

  Packing packing;
  Heads<const T> q, k, v;
  Heads<T> y;
  Array<C> lse;

  struct Rows {
    C maximum[R], sum[R], output[R][P::S];  // sum: this thread's share
  };

  SIMT_DEVICE void operator()() const {
    const RowTile tile(packing, P::rows);
    if (tile.is_empty()) return;
    const auto& [sequence, first, last] = tile;
    const auto [begin, end] = tile.keys();
    int key = begin / P::walked * P::walked;
    load_rows<P::rows, Width>(q, packing.dim, sequence, first, queries());
    if (key < end) load_keys<P::walked, Width>(k, packing.dim, sequence, key, keys());
    const P products{queries_bytes + 2 * keys_bytes};
    Rows rows = fresh();
    for (; key < end; key += P::walked) {
      simt::wait_for_copies();
      simt::barrier();  // the keys are here, and the values before have been read
      load_keys<P::walked, Width>(v, packing.dim, sequence, key, values());
      C weights[R][P::K];
      products.scores(queries(), keys(), packing.dim, weights);
      simt::wait_for_copies();
      simt::barrier();
      if (key + P::walked < end) load_keys<P::walked, Width>(k, packing.dim, sequence, key + P::walked, keys());
      if (packing.scale <= 0) multiply(weights, C(packing.scale));
      mask(sequence, first, last, key, weights);
      weigh(rows, C((packing.scale > 0 ? packing.scale : 1) * log2_e), weights);
      products.add_weighted(weights, values(), rows.output);
    }
    write(rows, sequence, first);
  }

 private:
  SIMT_DEVICE Tile<T> queries() const { return tile_at<T>(0, P::rows, Width); }
  SIMT_DEVICE Tile<T> keys() const { return tile_at<T>(queries_bytes, P::walked, Width); }
  SIMT_DEVICE Tile<T> values() const { return tile_at<T>(queries_bytes + keys_bytes, P::walked, Width); }

  SIMT_DEVICE static Rows fresh() {
    Rows rows;
    SIMT_UNROLL
    for (int i = 0; i < R; ++i) {
      rows.maximum[i] = -INFINITY;
      rows.sum[i] = 0;
      SIMT_UNROLL
      for (int j = 0; j < P::S; ++j) rows.output[i][j] = 0;
    }
    return rows;
  }

  SIMT_DEVICE static void multiply(C (&scores)[R][P::K], C factor) {
    SIMT_UNROLL
    for (int i = 0; i < R; ++i) {
      SIMT_UNROLL
      for (int j = 0; j < P::K; ++j) scores[i][j] *= factor;
    }
  }

  // Scores become −∞ where a row does not see the key; the tile's keys begin at `key`.
  SIMT_DEVICE static void mask(const Sequence& sequence, int first, int last, int key, C (&scores)[R][P::K]) {
    if (sequence.all_see(first, last, {key, key + P::walked})) return;
    SIMT_UNROLL
    for (int i = 0; i < R; ++i) {
      const Range visible = sequence.visible_to(first + P::row(i));
      SIMT_UNROLL
      for (int j = 0; j < P::K; ++j)
        if (!visible.holds(key + P::walked_row(j))) scores[i][j] = -INFINITY;
    }
  }

  // Scores become weights, and what was summed before is set against the new maximum. `factor` > 0 makes units of log 2
  // of scores, in the multiply-add that takes the maximum away.
  SIMT_DEVICE static void weigh(Rows& rows, C factor, C (&weights)[R][P::K]) {
    SIMT_UNROLL
    for (int i = 0; i < R; ++i) {
      C largest = -INFINITY;
      SIMT_UNROLL
      for (int j = 0; j < P::K; ++j) largest = fmax(largest, weights[i][j]);
      const C maximum = fmax(rows.maximum[i], P::row_maximum(largest) * factor);
      const C origin = maximum == C(-INFINITY) ? C(0) : maximum;  // a row that has seen nothing yet
      const C kept = P::power_of_2(rows.maximum[i] - origin);
      rows.maximum[i] = maximum;
      rows.sum[i] *= kept;
      SIMT_UNROLL
      for (int j = 0; j < P::S; ++j) rows.output[i][j] *= kept;
      SIMT_UNROLL
      for (int j = 0; j < P::K; ++j) {
        weights[i][j] = P::power_of_2(weights[i][j] * factor - origin);
        rows.sum[i] += weights[i][j];
      }
    }
  }

  SIMT_DEVICE void write(const Rows& rows, const Sequence& sequence, int first) const {
    SIMT_UNROLL
    for (int i = 0; i < R; ++i) {
      const C sum = P::row_sum(rows.sum[i]);
      const int row = first + P::row(i);
      if (row >= sequence.rows()) continue;
      if (P::first_of_row()) lse[sequence.statistic_at(row)] = (rows.maximum[i] + log2(sum)) * C(ln_2);
      store_head<P>(y, y.at(sequence.place(row)), packing.dim, rows.output[i], sum == 0 ? C(0) : 1 / sum);
    }
  }
};

}  // namespace

void launch_attention(const AttentionView& view, const HeadsView& y, const View& lse) {
  with_tiles(view, [&]<class T, int Width>() {
    using Kernel = AttentionForward<T, Width>;
    const Packing packing(view);
    const auto heads = [&](const HeadsView& x) { return Heads<const T>(x, view.dim); };
    simt::launch({tile_blocks(view.queries, view.sequences, packing.group.divisor, Kernel::P::rows), view.kv_heads},
                 Kernel{packing, heads(view.q), heads(view.k), heads(view.v), Heads<T>(y, view.dim),
                        elements<typename Kernel::C>(lse)},
                 Kernel::shared_bytes);
  });
}

}  // namespace mora::kernels::cuda
