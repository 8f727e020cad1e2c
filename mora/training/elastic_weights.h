// Elastic weight consolidation: Kirkpatrick et al. 2017, "Overcoming catastrophic forgetting in neural networks".
#pragma once

#include "autograd/grad.h"
#include "optim/optimizer.h"

namespace mora {

// loss += λ/2 Σ_t Σ_i F_t,i (θ_i − θ_t,i)² over the tasks t learned before, whose parameters ended at θ_t. F_t is the
// diagonal of the empirical Fisher information: the mean over rows of the squared gradient of each row's own log
// probability, not the square of a mean. The sum over tasks is kept as one quadratic, equal to it but for a constant:
// F = Σ F_t around θ* = Σ F_t·θ_t / F.
class ElasticWeights {
 public:
  explicit ElasticWeights(double weight) : weight_(weight) {}  // λ

  // λ/2 Σ F (θ − θ*)², a scalar; undefined before any task was consolidated.
  Tensor penalty(std::span<const Parameter> parameters) const;

  // Adds the task that the parameters have just learned; row 0 … rows − 1 give the gradients of their loss, one each.
  using RowGradients = FunctionRef<Tensors(int64_t row)>;
  void consolidate(std::span<const Parameter> parameters, int64_t rows, RowGradients gradients_of);

  // "PARAMETER.fisher" and "PARAMETER.center".
  std::vector<NamedTensor> state(std::span<const Parameter> parameters) const;
  // Throws IoError that names what is missing or does not fit.
  void load_state(std::span<const Parameter> parameters, std::span<const NamedTensor> saved);

 private:
  double weight_;
  Tensors fisher_, center_;  // F and θ*, by parameter; empty before the first task
};

}  // namespace mora
