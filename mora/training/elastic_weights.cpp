#include "mora/training/elastic_weights.h"

#include <algorithm>

#include "autograd/ops/arithmetic.h"
#include "autograd/ops/elementary.h"
#include "autograd/ops/reduce.h"
#include "kernels/copy.h"

namespace mora {

Tensor ElasticWeights::penalty(std::span<const Parameter> parameters) const {
  Tensor total;
  for (size_t i = 0; i < fisher_.size(); ++i) {
    const Tensor term = sum(fisher_[i] * square(parameters[i].value - center_[i]));
    total = total.defined() ? total + term : term;
  }
  return total.defined() ? total * (weight_ / 2) : total;
}

void ElasticWeights::consolidate(std::span<const Parameter> parameters, int64_t rows, RowGradients gradients_of) {
  Tensors added;
  for (int64_t row = 0; row < rows; ++row) {
    const Tensors gradients = gradients_of(row);
    const NoGrad no_grad;
    for (size_t i = 0; i < gradients.size(); ++i) {
      const Tensor term = square(gradients[i]) / double(rows);
      if (added.size() <= i)
        added.push_back(term);
      else
        added[i] = added[i] + term;
    }
  }
  const NoGrad no_grad;
  if (fisher_.empty()) {
    fisher_ = std::move(added);
    for (const Parameter& p : parameters) center_.push_back(kernels::copied(p.value));
    return;
  }
  for (size_t i = 0; i < fisher_.size(); ++i) {
    fisher_[i] = fisher_[i] + added[i];
    // θ* moves towards θ_t by F_t's share of F; where nothing has weight, it does not matter.
    const Tensor share = added[i] / maximum(fisher_[i], full_like(fisher_[i], 1e-37));
    center_[i] = center_[i] + share * (parameters[i].value - center_[i]);
  }
}

std::vector<NamedTensor> ElasticWeights::state(std::span<const Parameter> parameters) const {
  std::vector<NamedTensor> list;
  for (size_t i = 0; i < fisher_.size(); ++i) {
    list.push_back({parameters[i].name + ".fisher", fisher_[i]});
    list.push_back({parameters[i].name + ".center", center_[i]});
  }
  return list;
}

void ElasticWeights::load_state(std::span<const Parameter> parameters, std::span<const NamedTensor> saved) {
  fisher_.clear();
  center_.clear();
  if (saved.empty()) return;
  auto find = [&](const Parameter& p, const char* what) {
    const std::string name = p.name + what;
    const auto found = std::find_if(saved.begin(), saved.end(), [&](const NamedTensor& t) { return t.name == name; });
    require<IoError>(
        found != saved.end() && found->tensor.shape() == p.value.shape() && found->tensor.dtype() == p.value.dtype(),
        "continual state: '{}' is missing or does not fit", name);
    return kernels::copied(found->tensor).to(p.value.device());
  };
  for (const Parameter& p : parameters) {
    fisher_.push_back(find(p, ".fisher"));
    center_.push_back(find(p, ".center"));
  }
}

}  // namespace mora
