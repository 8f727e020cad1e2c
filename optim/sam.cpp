#include "optim/sam.h"

#include <algorithm>
#include <cmath>

#include "kernels/copy.h"
#include "kernels/optimizer.h"

namespace mora {
namespace {

// The values of parameters, written back at the end of the scope.
class SavedValues {
 public:
  explicit SavedValues(std::span<const kernels::PerturbationTerm> terms) {
    for (const auto& term : terms) {
      live_.push_back(term.parameter);
      saved_.push_back(Tensor::empty(term.parameter.meta()));
    }
    kernels::copy_all(live_, saved_);
  }
  ~SavedValues() { kernels::copy_all(saved_, live_); }
  SavedValues(const SavedValues&) = delete;
  SavedValues& operator=(const SavedValues&) = delete;

 private:
  Tensors live_, saved_;
};

Tensors defined_of(std::span<const Tensor> tensors) {
  Tensors result;
  for (const Tensor& t : tensors)
    if (t.defined()) result.push_back(t);
  return result;
}

}  // namespace

Sam::Sam(std::span<const Parameter> parameters, const SamOptions& options) : options_(options) {
  require<ConfigError>(options.rho > 0, "sam: rho {}: expected above 0", options.rho);
  require<ConfigError>(options.eta >= 0, "sam: eta {}: expected at least 0", options.eta);
  require<ConfigError>(options.interval >= 1, "sam: interval {}: expected at least 1", options.interval);
  require<ConfigError>(options.alpha >= 0, "sam: alpha {}: expected at least 0", options.alpha);
  if (options.kind != SamKind::looksam) return;
  for (const Parameter& p : parameters)
    memory_.push_back(Tensor::zeros(p.value.shape(), p.value.dtype(), p.value.device()));
  updates_ = Tensor::zeros({1}, DType::i64);
}

bool Sam::sharpen(std::span<const Parameter> parameters, Tensors& gradients, GradientFunction again) {
  if (options_.kind != SamKind::looksam) return gradients_nearby(parameters, gradients, again);
  if (*updates_.data<int64_t>() % options_.interval != 0 && has_memory_of(parameters)) {
    follow_memory(gradients);
  } else {
    const Tensors at_w = gradients;
    if (!gradients_nearby(parameters, gradients, again)) return false;
    if (!std::isfinite(kernels::global_norm(defined_of(gradients)))) return true;  // the caller's to see
    remember(at_w, gradients);
  }
  *updates_.mutable_data<int64_t>() += 1;
  return true;
}

// Not after a parameter was given another shape.
bool Sam::has_memory_of(std::span<const Parameter> parameters) const {
  for (size_t i = 0; i < memory_.size(); ++i)
    if (memory_[i].meta() != parameters[i].value.meta()) return false;
  return true;
}

bool Sam::gradients_nearby(std::span<const Parameter> parameters, Tensors& gradients, GradientFunction again) const {
  std::vector<kernels::PerturbationTerm> terms;
  for (size_t i = 0; i < gradients.size(); ++i)
    if (gradients[i].defined())
      terms.push_back({.parameter = parameters[i].value,
                       .gradient = gradients[i],
                       .scaled = options_.kind == SamKind::asam && parameters[i].is_weight});
  const SavedValues saved(terms);
  kernels::perturb(terms, options_.eta, options_.rho / (kernels::perturbation_norm(terms, options_.eta) + 1e-12));
  terms.clear();
  gradients.clear();  // the second pass needs their memory, unless somebody else holds them
  return again(gradients);
}

void Sam::follow_memory(Tensors& gradients) const {
  const double norm = kernels::global_norm(defined_of(gradients)), kept = kernels::global_norm(memory_);
  if (kept == 0) return;
  Tensors g, memory;
  for (size_t i = 0; i < gradients.size(); ++i) {
    if (!gradients[i].defined()) continue;
    g.push_back(gradients[i]);
    memory.push_back(memory_[i]);
  }
  kernels::add_all(memory, g, options_.alpha * norm / kept);
}

void Sam::remember(std::span<const Tensor> at_w, std::span<const Tensor> nearby) {
  const Tensors g = defined_of(at_w), g_s = defined_of(nearby);
  const double norm = kernels::global_norm(g);
  const double share = norm > 0 ? kernels::inner_product(g, g_s) / (norm * norm) : 0;
  Tensors memory;
  for (size_t i = 0; i < nearby.size(); ++i)
    if (nearby[i].defined()) memory.push_back(memory_[i] = Tensor::empty(nearby[i].meta()));
  kernels::copy_all(g_s, memory);
  kernels::add_all(g, memory, -share);
}

std::vector<NamedTensor> Sam::state(std::span<const Parameter> parameters) const {
  std::vector<NamedTensor> result;
  if (!updates_.defined()) return result;
  result.push_back({"sam.updates", updates_});
  for (size_t i = 0; i < memory_.size(); ++i) result.push_back({parameters[i].name + ".sharpness", memory_[i]});
  return result;
}

void Sam::load_state(std::span<const Parameter> parameters, std::vector<NamedTensor>& saved) {
  if (!updates_.defined()) return;
  auto take = [&](const std::string& name, const Meta& meta) {
    const auto found = std::find_if(saved.begin(), saved.end(), [&](const NamedTensor& s) { return s.name == name; });
    require<ConfigError>(found != saved.end(), "optimizer state: '{}' is missing", name);
    require<ConfigError>(
        found->tensor.shape() == meta.shape && found->tensor.dtype() == meta.dtype && found->tensor.is_contiguous(),
        "optimizer state: '{}' is {} of {}, expected {} of {}", name, found->tensor.shape(),
        name_of(found->tensor.dtype()), meta.shape, name_of(meta.dtype));
    const Tensor copied = kernels::copied(found->tensor).to(meta.device);
    saved.erase(found);
    return copied;
  };
  updates_ = take("sam.updates", updates_.meta());
  for (size_t i = 0; i < memory_.size(); ++i)
    memory_[i] = take(parameters[i].name + ".sharpness", parameters[i].value.meta());
}

}  // namespace mora
