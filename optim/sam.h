// Sharpness-aware minimisation around any optimizer: the update of w follows a gradient that was taken nearby, at w +
// e.
//
//   SAM      Foret et al. 2021    e = ρ·g/(‖g‖ + 1e-12), ‖g‖ over all parameters
//   ASAM     Kwon et al. 2021     e = ρ·T²g/(‖Tg‖ + 1e-12), T = |w| + η of weights, 1 of biases and norms
//   LookSAM  Liu et al. 2022      every k-th update is SAM's and keeps g_v = g_s − (g·g_s/‖g‖²)·g of its gradient g_s;
//                                 those between follow g + α·‖g‖/‖g_v‖·g_v and cost no second pass
//
// η > 0 matters to adapters: with 0, ASAM would never perturb what starts at zero (B of LoRA, M of MoRA).
#pragma once

#include "engine/parallel.h"
#include "optim/optimizer.h"

namespace mora {

enum class SamKind { sam, asam, looksam };

struct SamOptions {
  SamKind kind = SamKind::sam;
  double rho = 0.05;     // ρ, above 0
  double eta = 0.01;     // η, asam
  int64_t interval = 5;  // k, looksam
  double alpha = 0.7;    // α, looksam
};

// Fills in the gradients of the parameters as they are now; false where the loss is not finite. It must repeat the pass
// before it in all else: the same rows, the same dropout.
using GradientFunction = FunctionRef<bool(Tensors& gradients)>;

class Sam {
 public:
  Sam(std::span<const Parameter> parameters, const SamOptions& options);

  // Turns `gradients`, finite ones at w, into those that the update follows. A second pass sees w + e; w is put back
  // bit by bit, also when `again` throws. False where the loss at w + e is not finite: there is nothing to follow then.
  bool sharpen(std::span<const Parameter> parameters, Tensors& gradients, GradientFunction again);

  // LookSAM's memory for a checkpoint: "sam.updates" (i64, 1), and g_v of each parameter as "PARAMETER.sharpness".
  std::vector<NamedTensor> state(std::span<const Parameter> parameters) const;
  // Copies a saved state in, and takes what was used out of `saved`. Throws ConfigError that names what is missing.
  void load_state(std::span<const Parameter> parameters, std::vector<NamedTensor>& saved);

 private:
  bool has_memory_of(std::span<const Parameter> parameters) const;
  bool gradients_nearby(std::span<const Parameter> parameters, Tensors& gradients, GradientFunction again) const;
  void follow_memory(Tensors& gradients) const;
  void remember(std::span<const Tensor> at_w, std::span<const Tensor> nearby);

  SamOptions options_;
  Tensors memory_;  // g_v
  Tensor updates_;  // i64 (1): made so far
};

}  // namespace mora
