#include "mora/models/kv_cache.h"

#include <algorithm>
#include <cmath>

#include "autograd/node.h"
#include "autograd/ops/attention.h"
#include "kernels/copy.h"

namespace mora {
namespace {

constexpr int64_t kSmallestCapacity = 64;

// Rows `begin` … `begin + count`−1 of the first dimension, without history.
Tensor row_range(const Tensor& x, int64_t begin, int64_t count) {
  Shape shape = x.shape();
  shape[0] = count;
  return x.alias(shape, x.strides(), x.offset() + begin * x.strides()[0]);
}

// `capacity` rows like those of x (·, G, D), the rows of a head one after the other: decoding reads head by head.
Tensor empty_rows(int64_t capacity, const Meta& x) {
  const int64_t heads = x.shape[1], dim = x.shape[2];
  return Tensor::empty({heads, capacity, dim}, x.dtype, x.device)
      .alias({capacity, heads, dim}, {dim, capacity * dim, 1}, 0);
}

}  // namespace

void KvCache::Entry::grow(const Meta& rows) {
  const int64_t needed = length + rows.shape[0], capacity = keys.defined() ? keys.dim(0) : 0;
  if (needed > capacity) {
    const int64_t grown = std::max(needed, std::min(longest, std::max(2 * capacity, kSmallestCapacity)));
    for (Tensor* held : {&keys, &values}) {
      Tensor larger = empty_rows(grown, rows);
      Tensor used = row_range(larger, 0, length);
      if (length > 0) kernels::copy(row_range(*held, 0, length), used);
      *held = larger;
    }
  }
  length = needed;
}

void KvCache::Entry::append(const Tensor& k, const Tensor& v) {
  const int64_t before = length;
  grow(k.meta());
  Tensor new_keys = row_range(keys, before, k.dim(0)), new_values = row_range(values, before, k.dim(0));
  kernels::copy(k, new_keys);
  kernels::copy(v, new_values);
}

Tensor KvCache::attend(int64_t layer, const Tensor& q, const Tensor& k, const Tensor& v, const Indices& offsets,
                       const kernels::AttentionShape& shape) {
  invariant(!grad_enabled(), "kv_cache: gradients are recorded");
  std::vector<Entry>& entries = layers_[size_t(layer)];
  const auto ends = offsets.values();
  require<ShapeError>(ends.size() == entries.size() + 1, "kv_cache: {} sequences for a cache of {}", ends.size() - 1,
                      entries.size());
  Tensor y = Tensor::empty(q.meta());
  Tensor lse = Tensor::empty({q.dim(0), q.dim(1)}, compute_dtype(q.dtype()), q.device());
  for (size_t b = 0; b < entries.size(); ++b) {
    const int64_t begin = ends[b], count = ends[b + 1] - ends[b];
    Entry& entry = entries[b];
    entry.append(row_range(k, begin, count), row_range(v, begin, count));
    Tensor y_rows = row_range(y, begin, count), lse_rows = row_range(lse, begin, count);
    const auto from_zero = [&](int64_t end) {
      return Tensor::from(std::vector<int32_t>{0, int32_t(end)}, {2}).to(q.device());
    };
    kernels::attention(row_range(q, begin, count), row_range(entry.keys, 0, entry.length),
                       row_range(entry.values, 0, entry.length), from_zero(count), from_zero(entry.length), y_rows,
                       lse_rows, shape);
  }
  return y;
}

KvCache::Entry& KvCache::append_row(int64_t layer, const Meta& row) {
  std::vector<Entry>& entries = layers_[size_t(layer)];
  require<ShapeError>(entries.size() == 1, "kv_cache: 1 sequence for a cache of {}", entries.size());
  entries.front().grow(row);
  return entries.front();
}

void KvCache::insert(size_t at, int64_t longest) {
  Entry empty;
  empty.longest = longest;
  for (auto& layer : layers_) layer.insert(layer.begin() + std::ptrdiff_t(at), empty);
}

void KvCache::keep(const std::vector<size_t>& sequences) {
  for (auto& layer : layers_) {
    std::vector<Entry> kept;
    for (size_t b : sequences) kept.push_back(std::move(layer[b]));
    layer = std::move(kept);
  }
}

Tensor causal_attention(const Tensor& q, const Tensor& k, const Tensor& v, const Sequences& s, int64_t layer,
                        int64_t window) {
  const kernels::AttentionShape shape{.scale = 1 / std::sqrt(double(q.dim(2))), .causal = true, .window = window};
  if (s.cache) return s.cache->attend(layer, q, k, v, s.offsets, shape);
  return attention(q, k, v, s.offsets, s.offsets, shape);
}

}  // namespace mora
