// What the kernels of attention share: how a grid finds its work in packed sequences, and heads as tiles in shared
// memory.
//
// The query heads of a group read the same keys, so the queries of one sequence and one kv head are stacked into rows:
// row = query · group + (head within the group).
#pragma once

#include "kernels/cuda/arrays.h"
#include "kernels/cuda/attention.h"
#include "kernels/cuda/tile_product.h"

namespace mora::kernels::cuda {

inline constexpr double log2_e = 1.4426950408889634, ln_2 = 0.6931471805599453;

struct Range {
  int begin, end;
};

// The problem without its tensors.
struct Packing {
  Array<const int32_t> q_offsets, kv_offsets;
  int sequences, heads, group, dim;
  double scale;
  bool causal;
  int window;

  explicit Packing(const AttentionView& view)
      : q_offsets(elements<const int32_t>(view.q_offsets)),
        kv_offsets(elements<const int32_t>(view.kv_offsets)),
        sequences(view.sequences),
        heads(view.heads),
        group(view.heads / view.kv_heads),
        dim(view.dim),
        scale(view.scale),
        causal(view.causal),
        window(view.window) {}

  SIMT_DEVICE int queries(int b) const { return q_offsets[b + 1] - q_offsets[b]; }
  SIMT_DEVICE int keys(int b) const { return kv_offsets[b + 1] - kv_offsets[b]; }
  // The keys of sequence b that a query sees.
  SIMT_DEVICE Range visible_to(int b, int query) const {
    if (!causal) return {0, keys(b)};
    const int end = query + keys(b) - queries(b) + 1;
    return {window > 0 && end > window ? end - window : 0, end > 0 ? end : 0};
  }
  // The queries of sequence b that see at least one of some neighbouring keys.
  SIMT_DEVICE Range seeing(int b, Range some) const {
    const int count = queries(b), shift = keys(b) - count;
    if (!causal) return {0, count};
    const int64_t end = window > 0 ? int64_t{some.end} - 1 - shift + window : count;
    return {some.begin > shift ? some.begin - shift : 0, end < count ? int(end) : count};
  }
};

// Tiles of rows of sequences that lie one after the other, `per_token` rows a token. Sequence b has the blocks from
// offsets[b]·per_token / tile + b on: at least as many as it has tiles, and found without a table.
inline int tile_blocks(int tokens, int sequences, int per_token, int tile) {
  return sequences == 0 ? 0 : tokens * per_token / tile + sequences;
}
struct TilePlace {
  int sequence, first_row;
};
SIMT_DEVICE TilePlace tile_place(const Array<const int32_t>& offsets, int sequences, int per_token, int tile,
                                 int block) {
  const auto first_block = [&](int b) { return offsets[b] * per_token / tile + b; };
  int low = 0, high = sequences;  // first_block(low) ≤ block < first_block(high)
  while (high - low > 1) {
    const int middle = low + (high - low) / 2;
    (first_block(middle) <= block ? low : high) = middle;
  }
  return {low, (block - first_block(low)) * tile};
}

// The rows of one sequence and kv head.
struct StackedRows {
  int first_token, count, group, first_head;

  SIMT_DEVICE StackedRows(const Packing& packing, int sequence, int kv_head)
      : first_token(packing.q_offsets[sequence]),
        count(packing.queries(sequence) * packing.group),
        group(packing.group),
        first_head(kv_head * packing.group) {}
  SIMT_DEVICE int token(int row) const { return first_token + row / group; }
  SIMT_DEVICE int head(int row) const { return first_head + row % group; }
};

// (tokens, heads, D) in the device's memory; packs of 4 elements can be moved where `packed`.
template <class T>
struct Heads {
  Array<T> elements;
  int64_t token_stride, head_stride;
  bool packed;

  Heads(const HeadsView& view, int dim)
      : elements{static_cast<T*>(view.data), view.size},
        token_stride(view.token_stride),
        head_stride(view.head_stride),
        packed(dim % 4 == 0 && view.token_stride % 4 == 0 && view.head_stride % 4 == 0 &&
               reinterpret_cast<uintptr_t>(view.data) % alignof(Pack<T, 4>) == 0) {}

  SIMT_DEVICE int64_t at(int token, int head) const { return token * token_stride + head * head_stride; }
};

// The side of the square tiles of rows against keys: as large as lets `tiles` tiles of heads and one of scores fit in
// the 99 KiB that a block has on all cards since compute capability 8.0, where that can be.
template <class T>
constexpr int tile_side(int tiles, int width) {
  for (int side = 64; side > 16; side /= 2)
    if (tiles * tile_bytes<T>(side, width) + tile_bytes<Compute<T>>(side, side) <= (99 << 10)) return side;
  return 16;
}

// `place(i)` is where row i of the tile begins in `from`, or negative where there is none; what is not there is zero.
template <int Rows, int Width, class T, class Place>
SIMT_DEVICE void load_heads(const Heads<const T>& from, int dim, Place place, const Tile<T>& to) {
  constexpr int packs = Width / 4;
  for (int n = simt::thread_index(); n < Rows * packs; n += square_threads) {
    const int row = n / packs, column = n % packs * 4;
    const int64_t at = place(row);
    Pack<T, 4> pack{};
    if (at >= 0 && from.packed) {
      if (column < dim) pack = from.elements.template pack<4>(at + column);
    } else if (at >= 0) {
      for (int i = 0; i < 4; ++i)
        if (column + i < dim) pack.values[i] = from.elements[at + column + i];
    }
    to.set_pack(row, column, pack);
  }
}

// Rows `first` … of q or gy.
template <int Rows, int Width, class T>
SIMT_DEVICE void load_rows(const Heads<const T>& from, int dim, const StackedRows& rows, int first, const Tile<T>& to) {
  load_heads<Rows, Width>(
      from, dim,
      [&](int i) {
        return first + i < rows.count ? from.at(rows.token(first + i), rows.head(first + i)) : int64_t{-1};
      },
      to);
}

// The keys (or values) of a sequence and kv head.
struct KeyRows {
  int first_token, count, head;
  SIMT_DEVICE KeyRows(const Packing& packing, int sequence, int kv_head)
      : first_token(packing.kv_offsets[sequence]), count(packing.keys(sequence)), head(kv_head) {}
};
template <int Rows, int Width, class T>
SIMT_DEVICE void load_keys(const Heads<const T>& from, int dim, const KeyRows& keys, int first, const Tile<T>& to) {
  load_heads<Rows, Width>(
      from, dim,
      [&](int i) { return first + i < keys.count ? from.at(keys.first_token + first + i, keys.head) : int64_t{-1}; },
      to);
}

// The thread's share of a row of a sum, times `factor`, to `to` from element `at` on.
template <int S, class T>
SIMT_DEVICE void store_head(const Heads<T>& to, int64_t at, int dim, const Compute<T> (&row)[S], Compute<T> factor) {
  constexpr int width = pack_of(S);
  for (int j = 0; j < S; j += width) {
    const int column = packed_column<S>(j);
    Pack<T, width> pack;
    for (int i = 0; i < width; ++i) pack.values[i] = narrow<T>(row[j + i] * factor);
    if (to.packed && column + width <= dim) {
      to.elements.set_pack(at + column, pack);
    } else {
      for (int i = 0; i < width; ++i)
        if (column + i < dim) to.elements[at + column + i] = pack.values[i];
    }
  }
}

// Columns of a tile that a product over D takes.
SIMT_DEVICE int padded_depth(int dim) { return (dim + 3) / 4 * 4; }

// Calls f.operator()<T, Width>(), with the dtype's type and the smallest width of tiles that holds heads of D.
template <class F>
void with_tiles(const AttentionView& view, F f) {
  visit_floating(view.dtype, [&](auto t) {
    using T = decltype(t);
    if (view.dim <= 32)
      f.template operator()<T, 32>();
    else if (view.dim <= 64)
      f.template operator()<T, 64>();
    else if (view.dim <= 128)
      f.template operator()<T, 128>();
    else
      f.template operator()<T, largest_head>();
  });
}

}  // namespace mora::kernels::cuda
