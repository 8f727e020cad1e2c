// The activation a configuration names.
#pragma once

#include "autograd/ops/elementary.h"
#include "loaders/hf_config.h"

namespace mora {

inline Tensor activate(HfActivation f, const Tensor& x) {
  switch (f) {
    case HfActivation::gelu: return gelu(x);
    case HfActivation::gelu_tanh: return gelu_tanh(x);
    case HfActivation::relu: return relu(x);
    case HfActivation::silu: return silu(x);
  }
  return x;
}

}  // namespace mora
