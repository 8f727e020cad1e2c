#include "mora/adapters/whole_linear.h"

#include "autograd/ops/arithmetic.h"
#include "autograd/ops/matmul.h"
#include "autograd/ops/shape.h"
#include "kernels/copy.h"

namespace mora {
namespace {

Tensor f32_copy(const Tensor& t) {
  if (!t.defined()) return t;
  Tensor copy = Tensor::empty(t.shape());
  kernels::copy(t, copy);
  return copy;
}

}  // namespace

WholeLinear::WholeLinear(FrozenWeightPtr w) : WholeLinear(w, f32_copy(w->weight()), f32_copy(w->bias())) {}

WholeLinear::WholeLinear(FrozenWeightPtr w, const Tensor& weight, const Tensor& bias)
    : w_(std::move(w)), weight_(leaf(weight)), bias_(bias.defined() ? leaf(bias) : bias) {
  require<ShapeError>(weight.shape() == w_->meta().shape && bias.defined() == w_->bias().defined() &&
                          (!bias.defined() || bias.shape() == w_->bias().shape()),
                      "a trained weight {} in place of {}", weight.shape(), w_->meta().shape);
}

Tensor WholeLinear::update(const Tensor& x, Context& context) const { return forward(x, w_, context) - linear(x, w_); }

Tensor WholeLinear::forward(const Tensor& x, const FrozenWeightPtr&, Context&) const {
  const Tensor y = matmul(x, cast(weight_, x.dtype()), false, true);
  return bias_.defined() ? y + cast(bias_, x.dtype()) : y;
}

Tensor WholeLinear::merged() const {
  const NoGrad no_grad;
  return cast(weight_.detach(), DType::f64) - cast(w_->weight(), DType::f64);
}

LowRank WholeLinear::as_low_rank() const {
  fail<ConfigError>("a module trained whole is no low-rank update: export it to PEFT, or merge it");
}

}  // namespace mora
