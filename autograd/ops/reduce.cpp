#include "autograd/ops/reduce.h"

#include "autograd/ops/arithmetic.h"
#include "autograd/ops/elementary.h"
#include "autograd/ops/shape.h"
#include "kernels/reduce.h"

namespace mora {
namespace {

Meta reduced(const Meta& x, uint32_t dims, std::string_view op) {
  require<DTypeError>(is_floating(x.dtype), "{}: expected a floating dtype, not {}", op, name_of(x.dtype));
  Meta y = x;
  for (int i = 0; i < x.shape.rank(); ++i) {
    if ((dims >> i) & 1u) y.shape[i] = 1;
  }
  return y;
}

uint32_t mask_of(const Tensor& x, std::initializer_list<int> dims) {
  if (dims.size() == 0) return (1u << x.rank()) - 1u;
  uint32_t mask = 0;
  for (int d : dims) mask |= 1u << x.shape().index(d);
  return mask;
}

// Drops the reduced dimensions unless they are to be kept.
Tensor without(const Tensor& y, uint32_t dims, bool keep) {
  if (keep) return y;
  Shape shape;
  for (int i = 0; i < y.rank(); ++i) {
    if (!((dims >> i) & 1u)) shape.push_back(y.dim(i));
  }
  return reshape(y, shape);
}

void check_segments(const Meta& x, const Indices& offsets, int64_t rows, std::string_view op) {
  require<ShapeError>(x.shape.rank() == 2, "{}: expected (rows, d), not {}", op, x.shape);
  check_offsets(fmt::format("{}: the offsets", op), offsets, rows);
}

}  // namespace

namespace ops {

Meta Sum::infer(const Meta& x) const { return reduced(x, dims, name); }
void Sum::forward(const Tensor& x, Tensor& y) const { kernels::reduce(x, y, dims, kernels::Reduce::sum); }
Tensors Sum::vjp(const Saved& s, const Tensor& gy, Need) const { return {expand(gy, s.meta(0).shape)}; }

Meta Amax::infer(const Meta& x) const {
  for (int i = 0; i < x.shape.rank(); ++i) {
    require<ShapeError>(!((dims >> i) & 1u) || x.shape[i] > 0, "amax: nothing to take a maximum of in {}", x.shape);
  }
  return reduced(x, dims, name);
}
void Amax::forward(const Tensor& x, Tensor& y) const { kernels::reduce(x, y, dims, kernels::Reduce::maximum); }
Tensors Amax::vjp(const Saved& s, const Tensor& gy, Need) const {
  const Tensor x = s.input(0).detach(), y = s.output(0).detach();  // the choice has no derivative
  const Tensor chosen = mora::where(compare(x, y, kernels::Compare::equal), full_like(x, 1), full_like(x, 0));
  return {gy * (chosen / apply(Sum{dims}, chosen))};
}

Meta Argmax::infer(const Meta& x) const {
  require<ShapeError>(x.shape.rank() == 2 && x.shape[1] > 0, "argmax: expected (N, d) with d > 0, not {}", x.shape);
  return {{x.shape[0]}, DType::i32, x.device};
}
void Argmax::forward(const Tensor& x, Tensor& y) const { kernels::argmax(x, y); }

Meta SegmentMean::infer(const Meta& x) const {
  check_segments(x, offsets, x.shape.rank() ? x.shape[0] : 0, name);
  return {{offsets.size() - 1, x.shape[1]}, x.dtype, x.device};
}
void SegmentMean::forward(const Tensor& x, Tensor& y) const { kernels::segment_mean(x, offsets.tensor(), y); }
Tensor SegmentMean::composite(const Tensor& x) const {
  Tensors means;
  const auto ends = offsets.values();
  for (size_t b = 0; b + 1 < ends.size(); ++b) {
    const int64_t length = ends[b + 1] - ends[b];
    const Tensor rows = mora::slice(x, 0, ends[b], length);
    means.push_back(affine(mora::sum(rows, {0}, true), length ? 1.0 / double(length) : 0.0));
  }
  return means.empty() ? full_like(x, 0, {0, x.dim(1)}) : mora::concat(means, 0);
}
Tensors SegmentMean::vjp(const Saved& s, const Tensor& gy, Need) const {
  return {apply(SegmentMeanAdjoint{offsets, s.meta(0).shape[0]}, gy)};
}

Meta SegmentMeanAdjoint::infer(const Meta& gy) const {
  check_segments(gy, offsets, rows, name);
  require<ShapeError>(gy.shape[0] == offsets.size() - 1, "segment_mean_adjoint: gy {} for {} sequences", gy.shape,
                      offsets.size() - 1);
  return {{rows, gy.shape[1]}, gy.dtype, gy.device};
}
void SegmentMeanAdjoint::forward(const Tensor& gy, Tensor& gx) const {
  kernels::segment_mean_backward(gy, offsets.tensor(), gx);
}
Tensors SegmentMeanAdjoint::vjp(const Saved&, const Tensor& g, Need) const { return {apply(SegmentMean{offsets}, g)}; }

}  // namespace ops

Tensor sum(const Tensor& x, std::initializer_list<int> dims, bool keep) {
  const uint32_t mask = mask_of(x, dims);
  return without(apply(ops::Sum{mask}, x), mask, keep);
}

Tensor mean(const Tensor& x, std::initializer_list<int> dims, bool keep) {
  const Tensor total = sum(x, dims, keep);
  const int64_t count = total.numel() ? x.numel() / total.numel() : 1;
  return affine(total, 1.0 / double(std::max<int64_t>(1, count)));
}

Tensor amax(const Tensor& x, std::initializer_list<int> dims, bool keep) {
  const uint32_t mask = mask_of(x, dims);
  return without(apply(ops::Amax{mask}, x), mask, keep);
}

Tensor sum_to(const Tensor& x, const Shape& shape) {
  if (x.shape() == shape) return x;
  const int shift = x.rank() - shape.rank();
  require<ShapeError>(broadcast_shapes(shape, x.shape(), "sum_to") == x.shape(), "sum_to: {} does not broadcast to {}",
                      shape, x.shape());
  uint32_t mask = 0;
  for (int i = 0; i < x.rank(); ++i) {
    if (i < shift || shape[i - shift] != x.dim(i)) mask |= 1u << i;
  }
  return reshape(apply(ops::Sum{mask}, x), shape);
}

Tensor logsumexp(const Tensor& x) {
  const Tensor top = amax(x.detach(), {-1}, true);
  return top + log(sum(exp(x - top), {-1}, true));
}

Tensor argmax(const Tensor& x) { return apply(ops::Argmax{}, x); }
Tensor segment_mean(const Tensor& x, const Indices& offsets) { return apply(ops::SegmentMean{offsets}, x); }

}  // namespace mora
