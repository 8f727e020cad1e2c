// Clipping by the global norm (Pascanu et al. 2013), as PyTorch's clip_grad_norm_.
#pragma once

#include <span>

#include "engine/tensor.h"

namespace mora {

// gradients *= min(1, max_norm / (‖gradients‖₂ + 1e-6)) in place, over all of them together; undefined ones are
// skipped. Returns the norm before clipping. A norm that is not finite leaves the gradients alone: the caller skips the
// update.
double clip_grad_norm(std::span<Tensor> gradients, double max_norm);

}  // namespace mora
