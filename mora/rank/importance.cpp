#include "mora/rank/importance.h"

#include <array>
#include <cmath>
#include <numeric>

#include "autograd/ops/arithmetic.h"
#include "autograd/ops/elementary.h"
#include "mora/adapters/lora.h"

namespace mora {
namespace {

constexpr double beta1 = 0.85, beta2 = 0.85;

struct Component {  // element e belongs to component e / stride mod count
  int64_t count, stride;
  size_t of(int64_t element) const { return size_t(element / stride % count); }
};
Component components_of(const Tensor& t, int dim) { return {t.dim(dim), dim == 0 ? t.dim(1) : 1}; }

// ‖·‖ of each component.
std::vector<double> component_norms(const Tensor& t, int dim) {
  const Component component = components_of(t, dim);
  std::vector<double> norms(size_t(component.count));
  const Tensor here = t.to(cpu);
  const auto values = here.values<float>();
  for (int64_t e = 0; e < t.numel(); ++e) norms[component.of(e)] += double(values[size_t(e)]) * values[size_t(e)];
  for (double& n : norms) n = std::sqrt(n);
  return norms;
}

double norm_of(const Tensor& t) {
  double squares = 0;
  const Tensor here = t.to(cpu);
  for (float v : here.values<float>()) squares += double(v) * v;
  return std::sqrt(squares);
}

}  // namespace

ImportanceKind parse_importance(std::string_view word) {
  constexpr std::array<std::string_view, 3> names = {"sensitivity", "gradient", "norm"};
  for (size_t i = 0; i < names.size(); ++i)
    if (names[i] == word) return ImportanceKind(i);
  fail<ConfigError>("adapter.adapt.importance: '{}': expected one of sensitivity, gradient, norm", word);
}

Importance::Importance(ImportanceKind kind, std::span<const Parameter> parameters,
                       std::span<const LayerParameters> layers)
    : kind_(kind), means_(parameters.size()) {
  if (kind != ImportanceKind::sensitivity) return;
  for (const LayerParameters& layer : layers)
    for (size_t i : layer.indices) restart(i, parameters[i].value);
}

void Importance::observe(std::span<const Parameter> parameters, std::span<const Tensor> gradients) {
  const NoGrad no_grad;
  for (size_t i = 0; i < means_.size(); ++i) {
    if (!means_[i].sensitivity.defined() || !gradients[i].defined()) continue;
    Tensor &mean = means_[i].sensitivity, &spread = means_[i].uncertainty;
    const Tensor importance = absolute(parameters[i].value * gradients[i]);
    mean = mean * beta1 + importance * (1 - beta1);
    spread = spread * beta2 + absolute(importance - mean) * (1 - beta2);
  }
}

std::vector<double> Importance::element_scores(size_t i, const Parameter& parameter, const Tensor& gradient) const {
  std::vector<double> scores(size_t(parameter.value.numel()));
  if (kind_ == ImportanceKind::sensitivity) {
    const Tensor means = means_[i].sensitivity.to(cpu), spreads = means_[i].uncertainty.to(cpu);
    const auto mean = means.values<float>(), spread = spreads.values<float>();
    for (size_t e = 0; e < scores.size(); ++e) scores[e] = double(mean[e]) * double(spread[e]);
  } else if (gradient.defined()) {
    const Tensor value = parameter.value.to(cpu), here = gradient.to(cpu);
    const auto p = value.values<float>(), g = here.values<float>();
    for (size_t e = 0; e < scores.size(); ++e) scores[e] = std::abs(double(p[e]) * double(g[e]));
  }
  return scores;
}

std::vector<double> Importance::component_means(size_t i, int dim, const Parameter& parameter,
                                                const Tensor& gradient) const {
  const Component component = components_of(parameter.value, dim);
  std::vector<double> means(size_t(component.count));
  const std::vector<double> scores = element_scores(i, parameter, gradient);
  for (int64_t e = 0; e < parameter.value.numel(); ++e) means[component.of(e)] += scores[size_t(e)];
  for (double& m : means) m *= double(component.count) / double(parameter.value.numel());
  return means;
}

std::vector<double> Importance::scores(const LayerParameters& layer, std::span<const Parameter> parameters,
                                       std::span<const Tensor> gradients) const {
  const bool product = kind_ == ImportanceKind::norm;
  std::vector<double> total(size_t(layer.layer->rank()), product ? 1.0 : 0.0);
  if (layer.layer->spec().kind == AdapterSpec::Kind::mora) {
    const size_t i = layer.indices.front();
    const Tensor& m = parameters[i].value;
    double score = product ? norm_of(m) : 0;
    if (!product) {
      const std::vector<double> elements = element_scores(i, parameters[i], gradients[i]);
      score = std::accumulate(elements.begin(), elements.end(), 0.0) / double(m.numel());
    }
    for (size_t r = 0; r < total.size(); ++r) total[r] = score / double(r + 1);
    return total;
  }
  for (size_t i : layer.indices) {
    const std::optional<int> dim = component_dimension(parameters[i].name);
    if (!dim) continue;
    const std::vector<double> part =
        product ? component_norms(parameters[i].value, *dim) : component_means(i, *dim, parameters[i], gradients[i]);
    for (size_t r = 0; r < total.size(); ++r) total[r] = product ? total[r] * part[r] : total[r] + part[r];
  }
  return total;
}

void Importance::resize(size_t i, const std::function<Tensor(const Tensor&)>& select) {
  if (!means_[i].sensitivity.defined()) return;
  means_[i].sensitivity = select(means_[i].sensitivity);
  means_[i].uncertainty = select(means_[i].uncertainty);
}

void Importance::restart(size_t i, const Tensor& value) {
  if (kind_ != ImportanceKind::sensitivity) return;
  for (Tensor* t : {&means_[i].sensitivity, &means_[i].uncertainty})
    *t = Tensor::zeros(value.shape(), DType::f32, value.device());
}

std::vector<NamedTensor> Importance::state(std::span<const Parameter> parameters) const {
  std::vector<NamedTensor> list;
  for (size_t i = 0; i < means_.size(); ++i) {
    if (!means_[i].sensitivity.defined()) continue;
    list.push_back({parameters[i].name + ".sensitivity", means_[i].sensitivity});
    list.push_back({parameters[i].name + ".uncertainty", means_[i].uncertainty});
  }
  return list;
}

}  // namespace mora
