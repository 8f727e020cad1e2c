#include "autograd/ops/shape.h"

#include "autograd/ops/reduce.h"
#include "kernels/copy.h"

namespace mora {
namespace ops {

Tensors Alias::vjp(const Saved&, const Tensor& gy, Need) const { return {gy}; }

void Contiguous::forward(const Tensor& x, Tensor& y) const { kernels::copy(x, y); }
Tensors Contiguous::vjp(const Saved&, const Tensor& gy, Need) const { return {gy}; }

Meta Reshape::infer(const Meta& x) const {
  require<ShapeError>(x.shape.numel() == shape.numel(), "reshape: {} has {} elements, {} has {}", x.shape,
                      x.shape.numel(), shape, shape.numel());
  return {shape, x.dtype, x.device};
}
Tensor Reshape::view(const Tensor& x) const { return x.alias(shape, contiguous_strides(shape), x.offset()); }
Tensors Reshape::vjp(const Saved& s, const Tensor& gy, Need) const { return {reshape(gy, s.meta(0).shape)}; }

Meta Permute::infer(const Meta& x) const {
  uint32_t seen = 0;
  Shape result = x.shape;
  require<ShapeError>(order.rank() == x.shape.rank(), "permute: order {} for a tensor {}", order, x.shape);
  for (int i = 0; i < order.rank(); ++i) {
    result[i] = x.shape[int(order[i])];
    seen |= 1u << x.shape.index(int(order[i]));
  }
  require<ShapeError>(seen == (1u << order.rank()) - 1u, "permute: order {} is no permutation", order);
  return {result, x.dtype, x.device};
}
Tensor Permute::view(const Tensor& x) const {
  Shape shape = x.shape();
  Strides strides = x.strides();
  for (int i = 0; i < order.rank(); ++i) {
    shape[i] = x.dim(int(order[i]));
    strides[i] = x.strides()[int(order[i])];
  }
  return x.alias(shape, strides, x.offset());
}
Tensors Permute::vjp(const Saved&, const Tensor& gy, Need) const {
  Shape inverse = order;
  for (int i = 0; i < order.rank(); ++i) inverse[int(order[i])] = i;
  return {permute(gy, inverse)};
}

Meta Expand::infer(const Meta& x) const {
  require<ShapeError>(broadcast_shapes(x.shape, shape, name) == shape, "expand: {} does not broadcast to {}", x.shape,
                      shape);
  return {shape, x.dtype, x.device};
}
Tensor Expand::view(const Tensor& x) const {
  Strides strides = shape;
  const int shift = shape.rank() - x.rank();
  for (int i = 0; i < shape.rank(); ++i) strides[i] = i < shift || x.dim(i - shift) == 1 ? 0 : x.strides()[i - shift];
  return x.alias(shape, strides, x.offset());
}
Tensors Expand::vjp(const Saved& s, const Tensor& gy, Need) const { return {sum_to(gy, s.meta(0).shape)}; }

Meta Slice::infer(const Meta& x) const {
  require<ShapeError>(start >= 0 && length >= 0 && start <= x.shape[dim] - length,
                      "slice: [{}, {} + {}) of dimension {} of {}", start, start, length, dim, x.shape);
  Meta y = x;
  y.shape[dim] = length;
  return y;
}
Tensor Slice::view(const Tensor& x) const {
  Shape shape = x.shape();
  shape[dim] = length;
  return x.alias(shape, x.strides(), x.offset() + start * x.strides()[dim]);
}
Tensors Slice::vjp(const Saved& s, const Tensor& gy, Need) const {
  return {embed(gy, dim, start, s.meta(0).shape[dim])};
}

Meta Embed::infer(const Meta& x) const {
  require<ShapeError>(start >= 0 && start + x.shape[dim] <= length, "embed: {} at {} into {} entries", x.shape, start,
                      length);
  Meta y = x;
  y.shape[dim] = length;
  return y;
}
void Embed::forward(const Tensor& x, Tensor& y) const {
  kernels::fill(y, 0);
  Tensor part = Slice{dim, start, x.dim(dim)}.view(y);
  kernels::copy(x, part);
}
Tensors Embed::vjp(const Saved& s, const Tensor& gy, Need) const {
  return {slice(gy, dim, start, s.meta(0).shape[dim])};
}

Meta Concat::infer(std::span<const Meta> x) const {
  require<ShapeError>(!x.empty(), "concat: nothing to join");
  Meta y = x[0];
  y.shape[dim] = 0;
  for (const Meta& part : x) {
    Meta rest = part;
    rest.shape[dim] = y.shape[dim];
    require<ShapeError>(rest == y, "concat: {} {} does not fit {} {} along dimension {}", name_of(part.dtype),
                        part.shape, name_of(x[0].dtype), x[0].shape, dim);
    y.shape[dim] += part.shape[dim];
  }
  return y;
}
void Concat::forward(std::span<const Tensor> x, Tensor& y) const {
  int64_t start = 0;
  for (const Tensor& part : x) {
    Tensor target = Slice{dim, start, part.dim(dim)}.view(y);
    kernels::copy(part, target);
    start += part.dim(dim);
  }
}
Tensors Concat::vjp(const Saved& s, const Tensor& gy, Need need) const {
  Tensors result(size_t(s.arity()));
  int64_t start = 0;
  for (int i = 0; i < s.arity(); ++i) {
    const int64_t length = s.meta(i).shape[dim];
    if (need[i]) result[size_t(i)] = slice(gy, dim, start, length);
    start += length;
  }
  return result;
}

Meta Cast::infer(const Meta& x) const {
  require<DTypeError>(is_floating(x.dtype) && is_floating(dtype), "cast: {} to {}", name_of(x.dtype), name_of(dtype));
  return {x.shape, dtype, x.device};
}
void Cast::forward(const Tensor& x, Tensor& y) const { kernels::copy(x, y); }
Tensors Cast::vjp(const Saved& s, const Tensor& gy, Need) const { return {cast(gy, s.meta(0).dtype)}; }

}  // namespace ops

Tensor alias(const Tensor& x) { return apply(ops::Alias{}, x); }
Tensor contiguous(const Tensor& x) { return x.is_contiguous() ? x : apply(ops::Contiguous{}, x); }

Tensor reshape(const Tensor& x, const Shape& shape) {
  Shape full = shape;
  int64_t known = 1;
  int unknown = -1;
  for (int i = 0; i < shape.rank(); ++i) {
    if (shape[i] >= 0) {
      known *= shape[i];
      continue;
    }
    require<ShapeError>(unknown < 0 && shape[i] == -1, "reshape: {} has more than one unknown dimension", shape);
    unknown = i;
  }
  if (unknown >= 0) {
    require<ShapeError>(known > 0 && x.numel() % known == 0, "reshape: {} does not divide into {}", x.shape(), shape);
    full[unknown] = x.numel() / known;
  }
  return apply(ops::Reshape{full}, x);
}

Tensor permute(const Tensor& x, const Shape& order) { return apply(ops::Permute{order}, x); }

Tensor transpose(const Tensor& x, int i, int j) {
  Shape order = x.shape();
  for (int k = 0; k < x.rank(); ++k) order[k] = k;
  std::swap(order[i], order[j]);
  return permute(x, order);
}

Tensor expand(const Tensor& x, const Shape& shape) { return x.shape() == shape ? x : apply(ops::Expand{shape}, x); }
Tensor slice(const Tensor& x, int dim, int64_t start, int64_t length) {
  return apply(ops::Slice{dim, start, length}, x);
}
Tensor embed(const Tensor& x, int dim, int64_t start, int64_t length) {
  return apply(ops::Embed{dim, start, length}, x);
}
Tensor concat(std::span<const Tensor> x, int dim) { return apply_list(ops::Concat{dim}, x); }
Tensor cast(const Tensor& x, DType dtype) { return x.dtype() == dtype ? x : apply(ops::Cast{dtype}, x); }

}  // namespace mora
