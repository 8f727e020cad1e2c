#include "optim/optimizer.h"

#include <unordered_map>
#include <unordered_set>

#include "kernels/copy.h"

namespace mora {
namespace {

void check_parameter(const Parameter& p) {
  require<DTypeError>(p.value.dtype() == DType::f32 || p.value.dtype() == DType::f64,
                      "optimizer: parameter '{}' of {}: expected f32 or f64", p.name, name_of(p.value.dtype()));
  require<ShapeError>(p.value.is_contiguous(), "optimizer: parameter '{}' {} is not contiguous", p.name,
                      p.value.shape());
}

}  // namespace

Optimizer::Optimizer(std::vector<Parameter> parameters, std::vector<std::string> moment_names, double weight_decay)
    : parameters_(std::move(parameters)), moment_names_(std::move(moment_names)), weight_decay_(weight_decay) {
  std::unordered_set<std::string_view> names;
  for (const Parameter& p : parameters_) {
    check_parameter(p);
    require<ConfigError>(names.insert(p.name).second, "optimizer: two parameters named '{}'", p.name);
    moments_.push_back(fresh(p));
  }
}

Optimizer::Moments Optimizer::fresh(const Parameter& parameter) const {
  Moments m;
  for (size_t i = 0; i < moment_names_.size(); ++i)
    m.tensors.push_back(Tensor::zeros(parameter.value.shape(), parameter.value.dtype(), parameter.value.device()));
  m.step = Tensor::zeros({1}, DType::i64);
  return m;
}

std::vector<Optimizer::Update> Optimizer::updates_of(std::span<const Tensor> gradients, double lr) {
  require<ShapeError>(gradients.size() == parameters_.size(), "optimizer: {} gradients for {} parameters",
                      gradients.size(), parameters_.size());
  std::vector<Update> updates;
  for (size_t i = 0; i < parameters_.size(); ++i) {
    const Parameter& p = parameters_[i];
    if (!gradients[i].defined()) continue;
    require<ShapeError>(gradients[i].meta() == p.value.meta(), "optimizer: parameter '{}' {} with a gradient {}",
                        p.name, p.value.shape(), gradients[i].shape());
    updates.push_back({p, gradients[i], moments_[i], lr * p.lr_scale * p.rank_scale,
                       p.weight_decay.value_or(weight_decay_), moments_[i].steps() + 1});
  }
  return updates;
}

void Optimizer::step(std::span<const Tensor> gradients, double lr, const Tensor& gate) {
  const std::vector<Update> updates = updates_of(gradients, lr);
  update(updates, gate, Tensor());
  for (const Update& u : updates) *u.moments.step.mutable_data<int64_t>() += 1;
}

void Optimizer::recorded_step(std::span<const Tensor> gradients, const Tensor& steps, const Tensor& gate) {
  update(updates_of(gradients, 0), gate, steps);
}

Tensor Optimizer::next_steps(std::span<const Tensor> gradients, double lr) { return steps(updates_of(gradients, lr)); }

void Optimizer::count(const std::vector<bool>& had_gradient, int64_t steps) {
  for (size_t i = 0; i < moments_.size(); ++i)
    if (had_gradient[i]) *moments_[i].step.mutable_data<int64_t>() += steps;
}

std::vector<NamedTensor> Optimizer::state() const {
  std::vector<NamedTensor> result;
  for (size_t i = 0; i < parameters_.size(); ++i) {
    for (size_t m = 0; m < moment_names_.size(); ++m)
      result.push_back({parameters_[i].name + "." + moment_names_[m], moments_[i].tensors[m]});
    result.push_back({parameters_[i].name + ".step", moments_[i].step});
  }
  return result;
}

void Optimizer::load_state(std::span<const NamedTensor> saved) {
  std::unordered_map<std::string_view, const Tensor*> sources;
  for (const NamedTensor& s : saved) sources[s.name] = &s.tensor;
  std::vector<NamedTensor> mine = state();
  std::unordered_set<std::string_view> names;
  for (const NamedTensor& m : mine) {  // all checks first: a state is taken whole or not at all
    const auto found = sources.find(m.name);
    require<ConfigError>(found != sources.end(), "optimizer state: '{}' is missing", m.name);
    const Tensor& from = *found->second;
    require<ConfigError>(from.shape() == m.tensor.shape() && from.dtype() == m.tensor.dtype() && from.is_contiguous(),
                         "optimizer state: '{}' is {} of {}, expected {} of {}", m.name, from.shape(),
                         name_of(from.dtype()), m.tensor.shape(), name_of(m.tensor.dtype()));
    names.insert(m.name);
  }
  for (const NamedTensor& s : saved)
    require<ConfigError>(names.contains(s.name), "optimizer state: '{}' belongs to no parameter", s.name);
  for (NamedTensor& m : mine) kernels::copy(sources[m.name]->to(m.tensor.device()), m.tensor);
}

void Optimizer::resize(size_t i, Tensor value, const std::function<Tensor(const Tensor&)>& select) {
  std::vector<Tensor> selected;
  for (const Tensor& moment : moments_.at(i).tensors) {
    selected.push_back(select(moment));
    require<ShapeError>(selected.back().meta() == value.meta() && selected.back().is_contiguous(),
                        "optimizer: parameter '{}' resized to {} with a moment {}", parameters_[i].name, value.shape(),
                        selected.back().shape());
  }
  parameters_[i].value = std::move(value);
  check_parameter(parameters_[i]);
  moments_[i].tensors = std::move(selected);
}

void Optimizer::restart(size_t i, Tensor value) {
  parameters_.at(i).value = std::move(value);
  check_parameter(parameters_[i]);
  moments_[i] = fresh(parameters_[i]);
}

}  // namespace mora
