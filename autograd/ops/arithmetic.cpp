#include "autograd/ops/arithmetic.h"

#include "autograd/ops/reduce.h"
#include "autograd/ops/shape.h"
#include "kernels/copy.h"
#include "kernels/unary.h"

namespace mora {
namespace {

// x seen with `shape`: stretched dimensions get stride 0. A view, without history.
Tensor stretched(const Tensor& x, const Shape& shape) {
  if (x.shape() == shape) return x;
  Strides strides = shape;
  const int shift = shape.rank() - x.rank();
  for (int i = 0; i < shape.rank(); ++i) {
    strides[i] = i < shift || x.dim(i - shift) == 1 ? 0 : x.strides()[i - shift];
  }
  return x.alias(shape, strides, x.offset());
}

Meta broadcast(const Meta& a, const Meta& b, std::string_view op) {
  if (a.dtype != b.dtype) fail<DTypeError>("{}: {} against {}", op, name_of(a.dtype), name_of(b.dtype));
  if (a.device != b.device) fail<DeviceError>("{}: {} against {}", op, to_string(a.device), to_string(b.device));
  if (a.shape == b.shape) return a;
  return {broadcast_shapes(a.shape, b.shape, op), a.dtype, a.device};
}

Meta floating(const Meta& x, std::string_view op) {
  if (!is_floating(x.dtype)) fail<DTypeError>("{}: expected a floating dtype, not {}", op, name_of(x.dtype));
  return x;
}

Meta broadcast_floating(const Meta& a, const Meta& b, std::string_view op) { return floating(broadcast(a, b, op), op); }

void run(const Tensor& a, const Tensor& b, Tensor& y, kernels::Binary f) {
  kernels::binary(stretched(a, y.shape()), stretched(b, y.shape()), y, f);
}

}  // namespace

namespace ops {

Meta Add::infer(const Meta& a, const Meta& b) const { return broadcast_floating(a, b, name); }
void Add::forward(const Tensor& a, const Tensor& b, Tensor& y) const { run(a, b, y, kernels::Binary::add); }
Tensors Add::vjp(const Saved& s, const Tensor& gy, Need need) const {
  return {need[0] ? sum_to(gy, s.meta(0).shape) : Tensor(), need[1] ? sum_to(gy, s.meta(1).shape) : Tensor()};
}

Meta Sub::infer(const Meta& a, const Meta& b) const { return broadcast_floating(a, b, name); }
void Sub::forward(const Tensor& a, const Tensor& b, Tensor& y) const { run(a, b, y, kernels::Binary::sub); }
Tensors Sub::vjp(const Saved& s, const Tensor& gy, Need need) const {
  return {need[0] ? sum_to(gy, s.meta(0).shape) : Tensor(), need[1] ? sum_to(-gy, s.meta(1).shape) : Tensor()};
}

Meta Mul::infer(const Meta& a, const Meta& b) const { return broadcast_floating(a, b, name); }
void Mul::forward(const Tensor& a, const Tensor& b, Tensor& y) const { run(a, b, y, kernels::Binary::mul); }
Tensors Mul::vjp(const Saved& s, const Tensor& gy, Need need) const {
  return {need[0] ? sum_to(gy * s.input(1), s.meta(0).shape) : Tensor(),
          need[1] ? sum_to(gy * s.input(0), s.meta(1).shape) : Tensor()};
}

Meta Div::infer(const Meta& a, const Meta& b) const { return broadcast_floating(a, b, name); }
void Div::forward(const Tensor& a, const Tensor& b, Tensor& y) const { run(a, b, y, kernels::Binary::div); }
Tensors Div::vjp(const Saved& s, const Tensor& gy, Need need) const {
  const Tensor ga = gy / s.input(1);  // ∂y/∂a = 1/b, ∂y/∂b = −y/b
  return {need[0] ? sum_to(ga, s.meta(0).shape) : Tensor(),
          need[1] ? sum_to(-(ga * s.output(0)), s.meta(1).shape) : Tensor()};
}

Meta Maximum::infer(const Meta& a, const Meta& b) const { return broadcast_floating(a, b, name); }
void Maximum::forward(const Tensor& a, const Tensor& b, Tensor& y) const { run(a, b, y, kernels::Binary::maximum); }
Tensors Maximum::vjp(const Saved& s, const Tensor& gy, Need need) const {
  const Tensor first = compare(s.input(0), s.input(1), kernels::Compare::greater_equal);
  const Tensor zero = full_like(gy, 0);
  return {need[0] ? sum_to(mora::where(first, gy, zero), s.meta(0).shape) : Tensor(),
          need[1] ? sum_to(mora::where(first, zero, gy), s.meta(1).shape) : Tensor()};
}

Meta Where::infer(const Meta& condition, const Meta& a, const Meta& b) const {
  require<DTypeError>(condition.dtype == DType::boolean, "where: the condition is {}, not bool",
                      name_of(condition.dtype));
  Meta y = broadcast_floating(a, b, name);
  y.shape = broadcast_shapes(condition.shape, y.shape, name);
  return y;
}
void Where::forward(const Tensor& condition, const Tensor& a, const Tensor& b, Tensor& y) const {
  kernels::where(stretched(condition, y.shape()), stretched(a, y.shape()), stretched(b, y.shape()), y);
}
Tensors Where::vjp(const Saved& s, const Tensor& gy, Need need) const {
  const Tensor condition = s.input(0);
  const Tensor zero = full_like(gy, 0);
  return {Tensor(), need[1] ? sum_to(mora::where(condition, gy, zero), s.meta(1).shape) : Tensor(),
          need[2] ? sum_to(mora::where(condition, zero, gy), s.meta(2).shape) : Tensor()};
}

Meta Affine::infer(const Meta& x) const { return floating(x, name); }
void Affine::forward(const Tensor& x, Tensor& y) const { kernels::affine(x, y, scale, shift); }
Tensors Affine::vjp(const Saved&, const Tensor& gy, Need) const { return {affine(gy, scale)}; }

Meta Power::infer(const Meta& x) const { return floating(x, name); }
void Power::forward(const Tensor& x, Tensor& y) const { kernels::power(x, y, exponent); }
Tensors Power::vjp(const Saved& s, const Tensor& gy, Need) const {
  if (exponent == 0) return {full_like(gy, 0, gy.shape())};
  return {gy * affine(power(s.input(0), exponent - 1), exponent)};
}

Meta Clamp::infer(const Meta& x) const { return floating(x, name); }
void Clamp::forward(const Tensor& x, Tensor& y) const { kernels::clamp(x, y, low, high); }
Tensors Clamp::vjp(const Saved& s, const Tensor& gy, Need) const {
  const Tensor x = s.input(0), zero = full_like(gy, 0);
  const Tensor inside = mora::where(compare(x, full_like(x, low), kernels::Compare::greater_equal), gy, zero);
  return {mora::where(compare(x, full_like(x, high), kernels::Compare::less_equal), inside, zero)};
}

Meta Compare::infer(const Meta& a, const Meta& b) const {
  Meta y = broadcast(a, b, name);
  y.dtype = DType::boolean;
  return y;
}
void Compare::forward(const Tensor& a, const Tensor& b, Tensor& y) const {
  kernels::compare(stretched(a, y.shape()), stretched(b, y.shape()), y, f);
}

}  // namespace ops

Tensor add(const Tensor& a, const Tensor& b) { return apply(ops::Add{}, a, b); }
Tensor sub(const Tensor& a, const Tensor& b) { return apply(ops::Sub{}, a, b); }
Tensor mul(const Tensor& a, const Tensor& b) { return apply(ops::Mul{}, a, b); }
Tensor div(const Tensor& a, const Tensor& b) { return apply(ops::Div{}, a, b); }
Tensor maximum(const Tensor& a, const Tensor& b) { return apply(ops::Maximum{}, a, b); }
Tensor where(const Tensor& condition, const Tensor& a, const Tensor& b) { return apply(ops::Where{}, condition, a, b); }
Tensor affine(const Tensor& x, double scale, double shift) { return apply(ops::Affine{scale, shift}, x); }
Tensor power(const Tensor& x, double exponent) { return apply(ops::Power{exponent}, x); }
Tensor clamp(const Tensor& x, double low, double high) { return apply(ops::Clamp{low, high}, x); }
Tensor compare(const Tensor& a, const Tensor& b, kernels::Compare f) { return apply(ops::Compare{f}, a, b); }

Tensor full_like(const Tensor& x, double value, const Shape& shape) {
  Tensor t = Tensor::empty(shape, x.dtype(), x.device());
  kernels::fill(t, value);
  return t;
}

}  // namespace mora
