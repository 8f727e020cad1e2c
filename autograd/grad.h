// Gradients: the only entry to the backward pass.
#pragma once

#include "autograd/node.h"
#include "engine/parallel.h"

namespace mora {

struct GradOptions {
  bool create_graph = false;  // record the backward pass itself, for derivatives of derivatives
  bool retain_graph = false;  // keep what was saved, so that the graph can be used again; implied by create_graph
  bool allow_unused = false;  // an input that does not matter gives an undefined tensor instead of an error
};

// Σ_o output_gradients[o]ᵀ · ∂outputs[o]/∂inputs[i] for each i. Without output_gradients each output must have one
// element, and 1 is taken. Without create_graph each gradient is contiguous and has its memory alone: it may be written
// in place. Throws AutogradError when an output has no history, when an input does not influence the outputs, when a
// graph was freed by an earlier call, or when a saved tensor was written to since.
Tensors grad(std::span<const Tensor> outputs, std::span<const Tensor> inputs, const GradOptions& options = {},
             std::span<const Tensor> output_gradients = {});
inline Tensors grad(const Tensor& output, std::span<const Tensor> inputs, const GradOptions& options = {}) {
  return grad(std::span(&output, 1), inputs, options);
}

using TensorFunction = FunctionRef<Tensors(std::span<const Tensor>)>;

// The gradients of f at `inputs`, by running f again and differentiating it; undefined where `need` says no. They carry
// a graph of their own (through the inputs and through output_gradients) when recording is on. This is how a fused op
// gets its derivative from its composite, and how recomputation works. `captured`: tensors that f reads without being
// given them; their gradients come after those of the inputs, and so do their places in `need`.
Tensors differentiate(TensorFunction f, std::span<const Tensor> inputs, std::span<const Tensor> output_gradients,
                      Need need, std::span<const Node::Input> captured = {});

}  // namespace mora
