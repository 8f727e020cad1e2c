// O-LoRA: Wang et al. 2023, "Orthogonal Subspace Learning for Language Model Continual Learning".
#pragma once

#include "mora/mora_model.h"
#include "optim/optimizer.h"

namespace mora {

// Each task learns an update of its own; those of earlier tasks stay in the model and do not change. The new one is
// kept out of the inputs that they read:
//
//   LoRA   loss += λ Σ_layers Σ |A_past·A_newᵀ|   a task appends r components to A and B: rank r·(task + 1)
//   MoRA   loss += λ Σ_layers Σ_h |M_h·Mᵀ|        a task folds M into the history; the rows are compared where they
//                                                read, in the compressed space s = C(x) that all tasks share
//
// What is earlier follows from the adapter: the components of a LoRA before its last r, the history of a MoRA.
class OrthogonalUpdates {
 public:
  // Throws ConfigError for an adapter of another kind. `model` outlives it; `seed` is that of new components.
  OrthogonalUpdates(MoRAModel& model, double weight, uint64_t seed);

  // The model goes on with a fresh update on top of what it has. Its parameters are other tensors afterwards.
  void begin_task(int64_t task);
  // From now on the earlier components of these parameters are kept as they are.
  void protect(std::span<const Parameter> parameters);

  Tensor penalty() const;  // λ Σ …, a scalar; undefined where nothing is earlier
  // No gradient for earlier components.
  void mask(Tensors& gradients) const;
  // Puts back what weight decay did to them.
  void after_update();

 private:
  struct Protected {
    size_t parameter;
    Tensor value, past;  // of the parameter; of its first components along `dim`, to be kept
    int dim;
  };
  MoRAModel& model_;
  double weight_;
  uint64_t seed_;
  std::vector<Protected> protected_;
};

}  // namespace mora
