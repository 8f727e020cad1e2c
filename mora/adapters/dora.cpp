#include "mora/adapters/dora.h"

#include "autograd/ops/adapted_linear.h"
#include "autograd/ops/arithmetic.h"
#include "autograd/ops/elementary.h"
#include "autograd/ops/matmul.h"
#include "autograd/ops/reduce.h"
#include "autograd/ops/shape.h"

namespace mora {
namespace {

Tensor row_squares(const Tensor& w) {  // (out, in) → (out), f64
  const NoGrad no_grad;
  return sum(square(cast(w, DType::f64)), {1});
}

}  // namespace

DoRA::DoRA(const AdapterSpec& spec, FrozenWeightPtr w, uint64_t seed, uint64_t index)
    : LoRA(spec, w->in(), w->out(), seed, index),
      w_(std::move(w)),
      squares_(row_squares(w_->weight())),
      bias_(w_->bias()),
      magnitude_(leaf(cast(sqrt(squares_), DType::f32))) {}

DoRA::DoRA(const AdapterSpec& spec, Tensor a, Tensor b, const Tensor& magnitude, FrozenWeightPtr w, uint64_t index)
    : LoRA(spec, std::move(a), std::move(b), index),
      w_(std::move(w)),
      squares_(row_squares(w_->weight())),
      bias_(w_->bias()),
      magnitude_(leaf(magnitude)) {
  require<ShapeError>(magnitude.shape() == Shape{w_->out()}, "DoRA: magnitudes {} for a weight {}", magnitude.shape(),
                      w_->meta().shape);
}

// ‖W + s·B·A‖² = ‖W‖² + 2s·⟨B, W·Aᵀ⟩ + s²·⟨B·(A·Aᵀ), B⟩ by rows: without forming the product, which has W's size.
Tensor DoRA::row_norms() const {
  const NoGrad no_grad;
  Tensor wa = linear(a(), w_);  // A·Wᵀ (r, out)
  if (bias_.defined()) wa = wa - cast(bias_, wa.dtype());
  const Tensor cross = sum(transpose(wa) * b(), {1});
  const Tensor quadratic = sum(matmul(b(), matmul(a(), a(), false, true)) * b(), {1});
  const double s = scaling();
  return sqrt(cast(squares_, wa.dtype()) + cross * (2 * s) + quadratic * (s * s));
}

// x·W'ᵀ + b
Tensor DoRA::adapted(const Tensor& x) const {
  const Tensor gain = cast(magnitude_ / row_norms(), x.dtype());  // (out)
  const Tensor y = adapted_linear(x, lora_term(w_, cast(a(), x.dtype()), cast(b(), x.dtype()), scaling())) * gain;
  return bias_.defined() ? y + cast(bias_, x.dtype()) * (1 - gain) : y;
}

Tensor DoRA::update(const Tensor& x, Context& context) const {
  const Tensor input = dropped(x, context);
  return adapted(input) - linear(input, w_);
}

Tensor DoRA::forward(const Tensor& x, const FrozenWeightPtr& w, Context& context) const {
  return drops(context) ? MoRALayer::forward(x, w, context) : adapted(x);
}

void DoRA::to(Device device) {
  MoRALayer::to(device);
  squares_ = squares_.to(device);
  if (bias_.defined()) bias_ = bias_.to(device);
}

Tensor DoRA::merged() const {
  const NoGrad no_grad;
  const Tensor w = cast(w_->weight(), DType::f64), direction = w + LoRA::merged();
  const Tensor gain = cast(magnitude_.detach(), DType::f64) / sqrt(sum(square(direction), {1}));
  return direction * reshape(gain, {-1, 1}) - w;
}

LowRank DoRA::as_low_rank() const {
  fail<ConfigError>("DoRA scales the rows of the weight, which is no low-rank update: export it to PEFT, or merge it");
}

}  // namespace mora
