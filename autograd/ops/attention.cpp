#include "autograd/ops/attention.h"

#include "autograd/ops/arithmetic.h"
#include "autograd/ops/elementary.h"
#include "autograd/ops/embedding.h"
#include "autograd/ops/matmul.h"
#include "autograd/ops/reduce.h"
#include "autograd/ops/shape.h"
#include "autograd/ops/softmax.h"

namespace mora {
namespace {

// Tensors whose last dimension is dense are used as they are; others are copied.
Tensor dense_rows(const Tensor& x) { return x.strides()[-1] == 1 || x.dim(-1) == 1 ? x : detail::contiguous_copy(x); }

// 0 where query i of `queries` sees key j of `keys`, −inf elsewhere.  (queries, keys)
Tensor additive_mask(int64_t queries, int64_t keys, const kernels::AttentionShape& shape, const Tensor& like) {
  std::vector<float> mask(size_t(queries * keys), 0.f);
  for (int64_t i = 0; shape.causal && i < queries; ++i) {
    const int64_t last = i + keys - queries;
    for (int64_t j = 0; j < keys; ++j) {
      if (j > last || (shape.window > 0 && j <= last - shape.window)) mask[size_t(i * keys + j)] = -INFINITY;
    }
  }
  return cast(Tensor::from(mask, {queries, keys}).to(like.device()), like.dtype());
}

// Rows with no visible key would be 0/0: their scores are masked to zero weight by hand.
Tensor masked_softmax(const Tensor& scores, const Tensor& mask) {
  const Tensor low = full_like(scores, -1e30, scores.shape());
  const Tensor visible = compare(mask, full_like(mask, 0), kernels::Compare::equal);
  const Tensor p = softmax(where(visible, scores, low));
  return where(visible, p, full_like(p, 0));
}

}  // namespace

namespace ops {

std::array<Meta, 2> Attention::infer(const Meta& q, const Meta& k, const Meta& v) const {
  require<ShapeError>(q.shape.rank() == 3 && k.shape.rank() == 3 && k.shape == v.shape && q.shape[2] == k.shape[2] &&
                          k.shape[1] > 0 && q.shape[1] % k.shape[1] == 0,
                      "attention: q {}, k {}, v {}: expected (N, H, D), (M, G, D) twice, H a multiple of G", q.shape,
                      k.shape, v.shape);
  require<DTypeError>(is_floating(q.dtype) && q.dtype == k.dtype && q.dtype == v.dtype, "attention: q {}, k {}, v {}",
                      name_of(q.dtype), name_of(k.dtype), name_of(v.dtype));
  require<ShapeError>(q_offsets.size() == kv_offsets.size(), "attention: {} query offsets, {} key offsets",
                      q_offsets.size(), kv_offsets.size());
  check_offsets("attention: the query offsets", q_offsets, q.shape[0]);
  check_offsets("attention: the key offsets", kv_offsets, k.shape[0]);
  return {q, Meta{{q.shape[0], q.shape[1]}, compute_dtype(q.dtype), q.device}};
}

void Attention::forward(const Tensor& q, const Tensor& k, const Tensor& v, Tensor& y, Tensor& lse) const {
  kernels::attention(dense_rows(q), dense_rows(k), dense_rows(v), q_offsets.tensor(), kv_offsets.tensor(), y, lse,
                     shape);
}

Tensors Attention::composite(const Tensor& q, const Tensor& k, const Tensor& v) const {
  const int64_t heads = q.dim(1), group = heads / k.dim(1), size = q.dim(2);
  const auto q_ends = q_offsets.values(), k_ends = kv_offsets.values();
  Tensors sequences;
  for (size_t b = 0; b + 1 < q_ends.size(); ++b) {
    const int64_t nq = q_ends[b + 1] - q_ends[b], nk = k_ends[b + 1] - k_ends[b];
    auto head = [&](const Tensor& x, int64_t start, int64_t length, int64_t h) {
      return reshape(slice(slice(x, 0, start, length), 1, h, 1), {length, size});
    };
    const Tensor mask = additive_mask(nq, nk, shape, q);
    Tensors outputs;
    for (int64_t h = 0; h < heads; ++h) {
      const Tensor scores =
          matmul(head(q, q_ends[b], nq, h), head(k, k_ends[b], nk, h / group), false, true) * shape.scale;
      const Tensor y = matmul(masked_softmax(scores, mask), head(v, k_ends[b], nk, h / group));
      outputs.push_back(reshape(y, {nq, 1, size}));
    }
    sequences.push_back(concat(outputs, 1));
  }
  return {sequences.empty() ? full_like(q, 0, q.shape()) : concat(sequences, 0), Tensor()};
}

Tensors Attention::vjp(const Saved& s, const Tensor& gy, Need) const {
  const auto g =
      apply(AttentionBackward{*this, s.output(0).detach(), s.output(1)}, s.input(0), s.input(1), s.input(2), gy);
  return {g[0], g[1], g[2]};
}

std::array<Meta, 3> AttentionBackward::infer(const Meta& q, const Meta& k, const Meta& v, const Meta& gy) const {
  require<ShapeError>(q == gy, "attention_backward: q {} with gy {}", q.shape, gy.shape);
  return {q, k, v};
}

void AttentionBackward::forward(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& gy, Tensor& gq,
                                Tensor& gk, Tensor& gv) const {
  const Tensor g = gy.is_contiguous() ? gy : detail::contiguous_copy(gy);
  kernels::attention_backward(dense_rows(q), dense_rows(k), dense_rows(v), op.q_offsets.tensor(),
                              op.kv_offsets.tensor(), y, lse, g, gq, gk, gv, op.shape);
}

Tensors AttentionBackward::composite(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& gy) const {
  return composite_backward(op, gy, Need{0b111}, q, k, v);
}

Meta Rotary::infer(const Meta& x) const {
  require<DTypeError>(is_floating(x.dtype), "rotary: expected a floating dtype, not {}", name_of(x.dtype));
  require<ShapeError>(
      x.shape.rank() == 3 && x.shape[2] % 2 == 0 && cos.dim(1) == x.shape[2] / 2 && positions.dim(0) == x.shape[0],
      "rotary: x {} with {} positions and a table {}", x.shape, positions.dim(0), cos.shape());
  return x;
}

void Rotary::forward(const Tensor& x, Tensor& y) const {
  kernels::rotary(dense_rows(x), positions, cos, sin, y, inverse);
}

Tensor Rotary::composite(const Tensor& x) const {
  const int64_t half = x.dim(2) / 2;
  auto table = [&](const Tensor& t) {
    return reshape(cast(gather_rows(t, positions), x.dtype()), {x.dim(0), 1, half});
  };
  const Tensor c = table(cos), s = inverse ? -table(sin) : table(sin);
  const Tensor first = slice(x, 2, 0, half), second = slice(x, 2, half, half);
  const Tensor parts[] = {first * c - second * s, second * c + first * s};
  return concat(parts, 2);
}

Tensors Rotary::vjp(const Saved&, const Tensor& gy, Need) const {
  return {apply(Rotary{positions, cos, sin, !inverse}, gy)};
}

}  // namespace ops

Tensor attention(const Tensor& q, const Tensor& k, const Tensor& v, const Indices& q_offsets, const Indices& kv_offsets,
                 const kernels::AttentionShape& shape) {
  return apply(ops::Attention{q_offsets, kv_offsets, shape}, q, k, v)[0];
}

Tensor rotary(const Tensor& x, const Tensor& positions, const Tensor& cos, const Tensor& sin) {
  return apply(ops::Rotary{positions, cos, sin, false}, x);
}

}  // namespace mora
