// Learning to learn: what a start θ should change so that a few steps on a task's support rows fit its query rows.
//
//   inner loop    φ₀ = θ,  φ ← φ − α∘∇L_s(φ), `inner_steps` times
//   MAML          ∇_θ L_q(φ): through the inner loop, with its second derivatives     Finn et al. 2017
//   FOMAML        the same with ∇L_s held constant: ∇L_q at φ
//   ANIL          MAML whose inner loop moves the head alone                          Raghu et al. 2020
//   Meta-SGD      MAML with a rate α for each element, learned beside θ               Li et al. 2017
//   Reptile       θ − φ: towards where the inner loop went; L_q only tells            Nichol et al. 2018
#pragma once

#include <string_view>
#include <vector>

#include "engine/parallel.h"
#include "engine/tensor.h"

namespace mora {

enum class MetaKind { maml, fomaml, reptile, anil, metasgd };

MetaKind parse_meta_kind(std::string_view word);  // throws ConfigError that lists the known ones

struct InnerLoop {
  MetaKind kind = MetaKind::maml;
  int64_t steps = 1;
  double rate = 0.01;         // α, all kinds but Meta-SGD
  std::vector<bool> is_head;  // by parameter: what ANIL's inner loop moves
};

// The loss of some rows with these values of the parameters.
using LossAt = FunctionRef<Tensor(std::span<const Tensor> parameters)>;

// φ from θ. `rates` are Meta-SGD's, shaped as θ; empty for the other kinds. With `differentiable` φ carries the graph
// that leads to θ and the rates (leaves), through the inner gradients where the kind has second derivatives; else it is
// as fast as training.
Tensors adapt_to(LossAt support, std::span<const Tensor> theta, std::span<const Tensor> rates, const InnerLoop& loop,
                 bool differentiable);

struct MetaGradient {
  double query_loss = 0;  // at φ
  Tensors gradients;      // of θ, then of the rates
};
MetaGradient meta_gradient(LossAt support, LossAt query, std::span<const Tensor> theta, std::span<const Tensor> rates,
                           const InnerLoop& loop);

}  // namespace mora
