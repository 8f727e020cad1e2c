#include "mora/mora_linear.h"

#include "autograd/ops/arithmetic.h"
#include "autograd/ops/shape.h"

namespace mora {

MoRALinear::MoRALinear(LinearSlot base, std::unique_ptr<MoRALayer> layer)
    : base_(std::move(base)), layer_(std::move(layer)) {
  rebase();
}

void MoRALinear::rebase() {
  const NoGrad no_grad;
  working_ = base_->frozen();
  const Tensor shift = layer_->base_shift();
  if (!shift.defined()) return;
  const Tensor sum = cast(cast(working_->weight(), DType::f64) + shift, DType::f32);
  working_->drop_packed();
  working_ = std::make_shared<kernels::FrozenWeight>(sum, working_->bias());
}

}  // namespace mora
