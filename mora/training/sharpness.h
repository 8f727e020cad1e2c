// How sharp the loss is around a trained adapter: the extreme eigenvalues of its Hessian over what is trained, and the
// loss along the direction in which SAM looks.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/parallel.h"
#include "mora/training/objective.h"
#include "mora/training/task_data.h"

namespace mora {

struct SharpnessOptions {
  int64_t iterations = 20;  // of Lanczos, at most; each is a product of the Hessian with a vector
  double tolerance = 1e-3;  // of the top eigenvalue's residual, relative to it
  double rho = 0.05;        // the curve goes from −ρ to ρ
  int64_t points = 11;      // of the curve
  uint64_t seed = 0;        // of the first vector
};

struct Extremes {
  double largest = 0, smallest = 0;
  double residual = 0;     // ‖Hv − λv‖ of the largest, ‖v‖ = 1
  int64_t iterations = 0;  // products that were made
};

// The extreme eigenvalues of a symmetric H that is known by its products, over lists of f32 tensors shaped as `like`.
// Lanczos (1950) with every new vector made orthogonal to all before it, twice.
using Product = FunctionRef<Tensors(std::span<const Tensor> v)>;  // v → H·v
Extremes extreme_eigenvalues(Product product, std::span<const Tensor> like, const SharpnessOptions& options);

struct Sharpness {
  double loss = 0, gradient_norm = 0;
  Extremes hessian;
  struct Point {
    double distance, loss;
  };
  std::vector<Point> curve;  // L(w + t·g/‖g‖), t from −ρ to ρ
};

// Of the mean loss over all of `data`, without dropout. The model's trained tensors are moved along the way and put
// back bit by bit.
Sharpness measure_sharpness(MoRAModel& model, const TaskData& data, Task task, const SharpnessOptions& options);

}  // namespace mora
