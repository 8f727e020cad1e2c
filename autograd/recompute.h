// Activations that are computed twice instead of kept.     Chen et al. 2016, "Training Deep Nets with Sublinear Memory
// Cost"
#pragma once

#include <functional>

#include "autograd/grad.h"

namespace mora {

// f(inputs), of which only `inputs` are kept: a backward runs f again, and the memory of what f's ops save is in use
// for that time alone. Gradients reach the inputs and every other tensor that f reads (parameters of a layer). They are
// bit by bit those of f(inputs), as long as f repeats: no state (dropout draws from a keyed stream), and nothing it
// reads is written to before the backward.
Tensors recompute(std::function<Tensors(std::span<const Tensor>)> f, std::span<const Tensor> inputs);

}  // namespace mora
