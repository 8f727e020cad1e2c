// What the drivers of the samples share: running one with its gradients, and comparing.
#pragma once

#include <gtest/gtest.h>

#include "op_samples/sample.h"

namespace mora::test {

// Outputs and, where the op is differentiable, the gradients of Σ weights·outputs.
struct Result {
  Tensors outputs, gradients;
};

// Numbers of like each tensor, the same in every dtype.
Tensors weights_for(const Tensors& like, uint64_t seed);
// The floating ones as leaves of a graph.
Tensors leaves(const Tensors& inputs);
Tensors floating(const Tensors& inputs);
// The gradients of Σ weights·outputs, zero for an input that does not matter.
Tensors gradients_of(const Tensors& outputs, const Tensors& inputs, const Tensors& weights, bool create_graph = false);
Result evaluate(const Function& f, const Tensors& inputs, uint64_t seed = 500, bool create_graph = false);

// |a − b| ≤ tolerance·(1 + |b|) for each element; tolerance 0: the same values. On any device.
void expect_near(const Tensors& a, const Tensors& b, double tolerance, const std::string& what);
void expect_near(const Result& a, const Result& b, double tolerance);

}  // namespace mora::test
