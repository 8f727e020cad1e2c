// What the kernels of attention share: how a grid finds its work in packed sequences, and heads as tiles in shared
// memory.
//
// The query heads of a group read the same keys, so the queries of one sequence and one kv head are stacked into rows:
// row = query · group + (head within the group).
#pragma once

#include "kernels/cuda/arrays.h"
#include "kernels/cuda/attention.h"
#include "kernels/cuda/attention_products.h"

namespace mora::kernels::cuda {

inline constexpr double log2_e = 1.4426950408889634, ln_2 = 0.6931471805599453;

struct Range {
  int begin, end;
  SIMT_DEVICE bool holds(int i) const { return i >= begin && i < end; }
};

// n / divisor for 0 ≤ n < 2³¹, without a division on the device.
struct Divisor {
  int divisor;
  uint32_t reciprocal;  // 2³² / divisor, rounded up: the product is at most one too large

  explicit Divisor(int d) : divisor(d), reciprocal(d == 1 ? 0 : uint32_t(((uint64_t{1} << 32) + d - 1) / d)) {}
  SIMT_DEVICE int quotient(int n) const {
    if (divisor == 1) return n;
    const int q = int(simt::multiply_high(uint32_t(n), reciprocal));
    return q * divisor > n ? q - 1 : q;
  }
};

// The problem without its tensors.
struct Packing {
  Array<const int32_t> q_offsets, kv_offsets;
  int sequences, heads;
  Divisor group;
  int dim;
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

// One sequence and kv head.
struct Sequence {
  Divisor group;
  int heads, kv_head;
  int first_query, queries, first_key, keys;
  bool causal;
  int window;

  SIMT_DEVICE Sequence(const Packing& packing, int b, int kv_head_of_block)
      : group(packing.group),
        heads(packing.heads),
        kv_head(kv_head_of_block),
        first_query(packing.q_offsets[b]),
        queries(packing.q_offsets[b + 1] - first_query),
        first_key(packing.kv_offsets[b]),
        keys(packing.kv_offsets[b + 1] - first_key),
        causal(packing.causal),
        window(packing.window) {}

  SIMT_DEVICE int rows() const { return queries * group.divisor; }
  struct Place {
    int token, head;
  };
  SIMT_DEVICE Place place(int row) const {
    const int query = group.quotient(row);
    return {first_query + query, kv_head * group.divisor + row - query * group.divisor};
  }
  SIMT_DEVICE int64_t statistic_at(int row) const {
    const Place at = place(row);
    return int64_t{at.token} * heads + at.head;
  }

  // The keys that a row sees. Later rows see as far at least, and begin no earlier.
  SIMT_DEVICE Range visible_to(int row) const {
    if (!causal) return {0, keys};
    const int end = group.quotient(row) + keys - queries + 1;
    return {window > 0 && end > window ? end - window : 0, end > 0 ? end : 0};
  }
  // The keys that one of the rows sees; and whether each of them sees all of `some`.
  SIMT_DEVICE Range visible_to(int first_row, int last_row) const {
    return {visible_to(first_row).begin, visible_to(last_row).end};
  }
  SIMT_DEVICE bool all_see(int first_row, int last_row, Range some) const {
    return visible_to(first_row).end >= some.end && visible_to(last_row).begin <= some.begin;
  }
  // The rows that see at least one of some neighbouring keys.
  SIMT_DEVICE Range seeing(Range some) const {
    if (!causal) return {0, rows()};
    const int shift = keys - queries;
    const int64_t end = window > 0 ? int64_t{some.end} - 1 - shift + window : queries;
    return {(some.begin > shift ? some.begin - shift : 0) * group.divisor,
            (end < queries ? int(end) : queries) * group.divisor};
  }
};

// The rows of this block, `tile` of them at most, of one sequence and kv head. Later rows see more keys where the mask
// is causal: they begin first.
struct RowTile {
  Sequence sequence;
  int first, last;

  SIMT_DEVICE RowTile(const Packing& packing, int tile)
      : RowTile(packing, tile,
                tile_place(packing.q_offsets, packing.sequences, packing.group.divisor, tile,
                           simt::grid_size().x - 1 - simt::block_index().x)) {}

  SIMT_DEVICE bool is_empty() const { return last < first; }
  // The keys that one of them sees, where there is one.
  SIMT_DEVICE Range keys() const { return sequence.visible_to(first, last); }

 private:
  SIMT_DEVICE RowTile(const Packing& packing, int tile, TilePlace place)
      : sequence(packing, place.sequence, simt::block_index().y),
        first(place.first_row),
        last((first + tile < sequence.rows() ? first + tile : sequence.rows()) - 1) {}
};

// (tokens, heads, D) in the device's memory; 16 bytes can be moved at once where `packed`.
template <class T>
struct Heads {
  Array<T> elements;
  int64_t token_stride, head_stride;
  bool packed;

  Heads(const HeadsView& view, int dim)
      : elements{static_cast<T*>(view.data), view.size},
        token_stride(view.token_stride),
        head_stride(view.head_stride),
        packed(dim % pack_width<T> == 0 && view.token_stride % pack_width<T> == 0 &&
               view.head_stride % pack_width<T> == 0 && reinterpret_cast<uintptr_t>(view.data) % 16 == 0) {}

  SIMT_DEVICE int64_t at(int token, int head) const { return token * token_stride + head * head_stride; }
  SIMT_DEVICE int64_t at(Sequence::Place place) const { return at(place.token, place.head); }
};

// Begins to copy `Rows` rows to a tile: `place(i)` is where row i begins in `from`, or negative where there is none;
// what is not there is zero. All of it is there behind wait_for_copies() and a barrier.
template <int Rows, int Width, class T, class Place>
SIMT_DEVICE void load_heads(const Heads<const T>& from, int dim, Place place, const Tile<T>& to) {
  constexpr int width = pack_width<T>, packs = Width / width;
  for (int n = simt::thread_index(); n < Rows * packs; n += simt::block_size()) {
    const int row = n / packs, column = n % packs * width;
    const int64_t at = place(row);
    if (at >= 0 && from.packed && column < dim) {
      simt::copy_async<width>(to.elements, to.at(row, column), from.elements, at + column);
      continue;
    }
    Pack<T, width> pack{};
    for (int i = 0; i < width; ++i)
      if (at >= 0 && column + i < dim) pack.values[i] = from.elements[at + column + i];
    to.set_pack(row, column, pack);
  }
}

// Rows `first` … of q or gy.
template <int Rows, int Width, class T>
SIMT_DEVICE void load_rows(const Heads<const T>& from, int dim, const Sequence& sequence, int first,
                           const Tile<T>& to) {
  load_heads<Rows, Width>(
      from, dim, [&](int i) { return first + i < sequence.rows() ? from.at(sequence.place(first + i)) : int64_t{-1}; },
      to);
}

// Keys (or values) `first` ….
template <int Rows, int Width, class T>
SIMT_DEVICE void load_keys(const Heads<const T>& from, int dim, const Sequence& sequence, int first,
                           const Tile<T>& to) {
  load_heads<Rows, Width>(
      from, dim,
      [&](int i) {
        return first + i < sequence.keys ? from.at(sequence.first_key + first + i, sequence.kv_head) : int64_t{-1};
      },
      to);
}

// `width` neighbours from `column` on of the head that begins at element `at`; 0 beyond it.
template <int width, class T>
SIMT_DEVICE Pack<T, width> load_pack(const Heads<const T>& from, int64_t at, int column, int dim) {
  Pack<T, width> pack{};
  if (from.packed && column + width <= dim) return from.elements.template pack<width>(at + column);
  for (int i = 0; i < width; ++i)
    if (column + i < dim) pack.values[i] = from.elements[at + column + i];
  return pack;
}

// The thread's share of a row of a sum, times `factor`, to `to` from element `at` on.
template <class P, class T>
SIMT_DEVICE void store_head(const Heads<T>& to, int64_t at, int dim, const Compute<T> (&row)[P::S], Compute<T> factor) {
  constexpr int width = P::pack;
  SIMT_UNROLL
  for (int j = 0; j < P::S; j += width) {
    const int column = P::column(j);
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

// Calls f.operator()<T, Width>(), with the dtype's type and the smallest width of tiles that holds heads of D.
template <class F>
void with_tiles(const AttentionView& view, F f) {
  visit_floating(view.dtype, [&](auto t) {
    using T = decltype(t);
    if (view.dim <= 32) return f.template operator()<T, 32>();
    if (view.dim <= 64) return f.template operator()<T, 64>();
    if constexpr (sizeof(T) == 2) {  // a width of its own costs the f32 path little: its products stop at D
      if (view.dim <= 80) return f.template operator()<T, 80>();
      if (view.dim <= 96) return f.template operator()<T, 96>();
    }
    if (view.dim <= 128) return f.template operator()<T, 128>();
    f.template operator()<T, largest_head>();
  });
}

}  // namespace mora::kernels::cuda
