// How much each component of a layer matters for the loss.
#pragma once

#include <functional>
#include <span>
#include <string_view>
#include <vector>

#include "mora/adapters/mora_layer.h"
#include "optim/optimizer.h"

namespace mora {

enum class ImportanceKind {
  sensitivity,  // Ī·U:  I = |p·∂L/∂p|,  Ī = β₁Ī + (1 − β₁)I,  U = β₂U + (1 − β₂)|I − Ī|,  β = 0.85 (AdaLoRA)
  gradient,     // I of the last update
  norm,         // of the component's part of ΔW
};
ImportanceKind parse_importance(std::string_view word);

// Where the tensors of one layer stand among the optimizer's parameters.
struct LayerParameters {
  MoRALayer* layer = nullptr;
  std::vector<size_t> indices;
};

class Importance {
 public:
  Importance(ImportanceKind kind, std::span<const Parameter> parameters, std::span<const LayerParameters> layers);

  // After an update that was made with these gradients (undefined: none).
  void observe(std::span<const Parameter> parameters, std::span<const Tensor> gradients);

  // The score of each component of a layer: of a LoRA the sum over its tensors of the component's mean element score,
  // or ‖B_i‖·‖A_i‖ (times |E_i|); of a MoRA of rank r the layer's score, a mean or ‖M‖, divided by 1 … r.
  std::vector<double> scores(const LayerParameters& layer, std::span<const Parameter> parameters,
                             std::span<const Tensor> gradients) const;

  // As Optimizer::resize and restart.
  void resize(size_t i, const std::function<Tensor(const Tensor&)>& select);
  void restart(size_t i, const Tensor& value);

  // The running means as PARAMETER.sensitivity and PARAMETER.uncertainty, the live tensors.
  std::vector<NamedTensor> state(std::span<const Parameter> parameters) const;

 private:
  struct Means {
    Tensor sensitivity, uncertainty;  // undefined where nothing is followed
  };
  std::vector<double> component_means(size_t i, int dim, const Parameter& parameter, const Tensor& gradient) const;
  std::vector<double> element_scores(size_t i, const Parameter& parameter, const Tensor& gradient) const;

  ImportanceKind kind_;
  std::vector<Means> means_;  // as the optimizer's parameters
};

}  // namespace mora
