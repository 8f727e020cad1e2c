#include "kernels/optimizer_bodies.h"

#include "kernels/checks.h"

namespace mora::kernels {
namespace {

const Tensor& tensor_of(const Tensor& t) { return t; }
template <class Term>
const Tensor& tensor_of(const Term& term) {
  return term.parameter;
}

// The body for the device of the list's first tensor; the processor's for an empty list. A body throws DeviceError
// where the other tensors are elsewhere.
template <class T, class Body>
Body* body_for(std::string_view op, std::span<T> list, Body* on_cpu, Body* on_cuda) {
  if (list.empty() || tensor_of(list.front()).device().kind == DeviceKind::cpu) return on_cpu;
  require<DeviceError>(on_cuda != nullptr, "{}: no kernel for cuda", op);
  return on_cuda;
}

template <class Term, class Rule>
Tensor steps_on_device(std::string_view op, std::span<Term> terms, const Rule& rule,
                       Tensor (*on_cuda)(std::span<Term>, const Rule&)) {
  const auto none = +[](std::span<Term>, const Rule&) { return Tensor(); };
  return body_for(op, terms, none, on_cuda)(terms, rule);
}

}  // namespace

void check_gate(Device device, const Tensor& gate) {
  if (!gate.defined()) return;
  check_device("an update's gate", device, gate);
  require<ShapeError>(gate.numel() == 1, "an update's gate is {}, expected one number", gate.shape());
  require<DTypeError>(gate.dtype() == DType::f64, "an update's gate is {}, expected f64", name_of(gate.dtype()));
}

void check_loss(Device device, const Tensor& loss) {
  if (!loss.defined()) return;
  check_device("clip", device, loss);
  require<ShapeError>(loss.numel() == 1, "clip: a loss {}, expected one number", loss.shape());
  require<DTypeError>(is_floating(loss.dtype()), "clip: a loss of {}, expected floating point", name_of(loss.dtype()));
}

void sgd_update(std::span<SgdTerm> terms, const SgdRule& rule, const Tensor& gate, const Tensor& steps) {
  body_for("sgd", terms, cpu::sgd_update, cuda::sgd_update)(terms, rule, gate, steps);
}

Tensor sgd_steps(std::span<SgdTerm> terms, const SgdRule& rule) {
  return steps_on_device("sgd", terms, rule, cuda::sgd_steps);
}

void adamw_update(std::span<AdamWTerm> terms, const AdamWRule& rule, const Tensor& gate, const Tensor& steps) {
  body_for("adamw", terms, cpu::adamw_update, cuda::adamw_update)(terms, rule, gate, steps);
}

Tensor adamw_steps(std::span<AdamWTerm> terms, const AdamWRule& rule) {
  return steps_on_device("adamw", terms, rule, cuda::adamw_steps);
}

void lamb_update(std::span<LambTerm> terms, const LambRule& rule, const Tensor& gate, const Tensor& steps) {
  body_for("lamb", terms, cpu::lamb_update, cuda::lamb_update)(terms, rule, gate, steps);
}

Tensor lamb_steps(std::span<LambTerm> terms, const LambRule& rule) {
  return steps_on_device("lamb", terms, rule, cuda::lamb_steps);
}

std::vector<double> norms(std::span<const Tensor> tensors) {
  return body_for("norms", tensors, cpu::norms, cuda::norms)(tensors);
}

double inner_product(std::span<const Tensor> xs, std::span<const Tensor> ys) {
  return body_for("inner_product", xs, cpu::inner_product, cuda::inner_product)(xs, ys);
}

double perturbation_norm(std::span<const PerturbationTerm> terms, double eta) {
  return body_for("perturbation_norm", terms, cpu::perturbation_norm, cuda::perturbation_norm)(terms, eta);
}

void perturb(std::span<PerturbationTerm> terms, double eta, double factor) {
  body_for("perturb", terms, cpu::perturb, cuda::perturb)(terms, eta, factor);
}

double global_norm(std::span<const Tensor> tensors) {
  return body_for("global_norm", tensors, cpu::global_norm, cuda::global_norm)(tensors);
}

void scale_all(std::span<Tensor> tensors, double factor) {
  body_for("scale_all", tensors, cpu::scale_all, cuda::scale_all)(tensors, factor);
}

Clipped clip(std::span<Tensor> gradients, double most, const Tensor& loss) {
  return body_for("clip", gradients, cpu::clip, cuda::clip)(gradients, most, loss);
}

void add_all(std::span<const Tensor> xs, std::span<Tensor> ys, double factor) {
  body_for("add_all", xs, cpu::add_all, cuda::add_all)(xs, ys, factor);
}

void copy_all(std::span<const Tensor> xs, std::span<Tensor> ys) {
  body_for("copy_all", xs, cpu::copy_all, cuda::copy_all)(xs, ys);
}

}  // namespace mora::kernels
