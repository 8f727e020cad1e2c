#include "kernels/optimizer_bodies.h"

#include <cmath>

#include "kernels/checks.h"
#include "kernels/cuda/optimizer.h"
#include "kernels/cuda/tensor_view.h"

namespace mora::kernels::cuda {
namespace {

void* pointer(const Tensor& t) { return view(t).data; }
// For writing: the storage's version moves.
void* pointer_to_write(Tensor& t) { return output(t).data; }

// Steps of one dtype, to be launched together, with the places of their terms.
template <class S>
class Group {
 public:
  // `pointers`: the step's tensors.
  void add(size_t place, S step, int64_t size, std::initializer_list<const void*> pointers) {
    step.size = size;
    step.first_piece = pieces_;
    step.packed = true;
    for (const void* p : pointers) step.packed = step.packed && reinterpret_cast<uintptr_t>(p) % 16 == 0;
    pieces_ += step.pieces();
    steps_.push_back(step);
    places_.push_back(place);
  }

  bool empty() const { return steps_.empty(); }
  int64_t size() const { return int64_t(steps_.size()); }
  int64_t pieces() const { return pieces_; }
  const std::vector<size_t>& places() const { return places_; }

  const std::vector<S>& steps() const { return steps_; }

 private:
  std::vector<S> steps_;
  std::vector<size_t> places_;
  int64_t pieces_ = 0;
};

template <class S>
using Groups = std::array<Group<S>, 4>;  // by floating dtype

// The steps of all groups, one group after the other, u8 (n) on the device.
template <class S>
Tensor upload(const Groups<S>& groups, Device device) {
  std::vector<S> all;
  for (const Group<S>& group : groups) all.insert(all.end(), group.steps().begin(), group.steps().end());
  return Graph::upload({reinterpret_cast<const uint8_t*>(all.data()), all.size() * sizeof(S)}, device);
}

// launch(table) for each group that is not empty. `steps`: what upload gave.
template <class S, class Launch>
void launch_groups(const Groups<S>& groups, const Tensor& steps, Launch launch) {
  int64_t count = 0;
  for (const Group<S>& group : groups) count += group.size();
  require<ShapeError>(steps.numel() == count * int64_t(sizeof(S)), "an update of {} terms with steps of {} bytes",
                      count, steps.numel());
  const S* first = static_cast<const S*>(view(steps, DType::u8).data);
  for (size_t dtype = 0; dtype < groups.size(); first += groups[dtype++].size())
    if (!groups[dtype].empty()) launch(Table<S>{first, groups[dtype].size(), groups[dtype].pieces(), DType(dtype)});
}

template <class S, class Launch>
void launch_groups(const Groups<S>& groups, Device device, Launch launch) {
  launch_groups(groups, upload(groups, device), launch);
}

Tensor scratch(int64_t numbers, Device device) { return Tensor::empty({numbers}, DType::f64, device); }

// The sum of each term, in the order of the terms. launch(table, parts, sums).
template <class S, class Launch>
std::vector<double> sums_of(const Groups<S>& groups, size_t terms, Device device, Launch launch) {
  std::vector<double> result(terms);
  launch_groups(groups, device, [&](const Table<S>& table) {
    Tensor parts = scratch(table.pieces, device), sums = scratch(table.size, device);
    launch(table, output(parts), output(sums));
    const Tensor host = sums.to(mora::cpu);
    const std::vector<size_t>& places = groups[size_t(table.dtype)].places();
    for (size_t i = 0; i < places.size(); ++i) result[places[i]] = host.data<double>()[i];
  });
  return result;
}

double total_of(const std::vector<double>& sums) {
  double total = 0;
  for (const double sum : sums) total += sum;
  return total;
}

Groups<Pair> pairs(std::string_view op, std::span<const Tensor> xs, std::span<const Tensor> ys, double factor = 1) {
  check_pairs(op, xs.front().device(), xs, ys);
  Groups<Pair> groups;
  for (size_t i = 0; i < xs.size(); ++i) {
    require_floating(op, xs[i]);
    Pair pair;
    pair.x = pointer(xs[i]);
    pair.y = pointer(ys[i]);
    pair.factor = factor;
    groups[size_t(xs[i].dtype())].add(i, pair, xs[i].numel(), {pair.x, pair.y});
  }
  return groups;
}

std::vector<double> products(std::string_view op, std::span<const Tensor> xs, std::span<const Tensor> ys) {
  Groups<Pair> groups = pairs(op, xs, ys);
  return sums_of(groups, xs.size(), xs.front().device(), launch_products);
}

// gate: undefined, or what the tensors are multiplied by besides.
void scale(std::span<Tensor> tensors, double factor, const Tensor& gate) {
  const Device device = tensors.front().device();
  Groups<Scaling> groups;
  for (size_t i = 0; i < tensors.size(); ++i) {
    Tensor& t = tensors[i];
    check_scaled(device, t);
    require_floating("scale_all", t);
    Scaling step;
    step.x = pointer_to_write(t);
    step.factor = factor;
    groups[size_t(t.dtype())].add(i, step, t.numel(), {step.x});
  }
  launch_groups(groups, device, [&](const Table<Scaling>& table) { launch_scale(table, view(gate)); });
}

Groups<Perturbation> perturbations(std::string_view op, Device device, std::span<const PerturbationTerm> terms,
                                   double eta, double factor) {
  Groups<Perturbation> groups;
  for (size_t i = 0; i < terms.size(); ++i) {
    const PerturbationTerm& term = terms[i];
    check_term(op, device, term.parameter, {&term.gradient});
    Perturbation step;
    step.parameter = pointer(term.parameter);
    step.gradient = pointer(term.gradient);
    step.eta = eta;
    step.factor = factor;
    step.scaled = term.scaled;
    groups[size_t(term.parameter.dtype())].add(i, step, term.parameter.numel(), {step.parameter, step.gradient});
  }
  return groups;
}

template <class Term>
Device device_of(std::span<Term> terms) {
  return terms.front().parameter.device();
}

Groups<SgdStep> steps_of(std::span<SgdTerm> terms, const SgdRule& rule) {
  const Device device = device_of(terms);
  Groups<SgdStep> groups;
  for (size_t i = 0; i < terms.size(); ++i) {
    SgdTerm& term = terms[i];
    check_term("sgd", device, term.parameter, {&term.gradient, &term.buffer});
    SgdStep step;
    step.parameter = pointer_to_write(term.parameter);
    step.gradient = pointer(term.gradient);
    step.buffer = pointer_to_write(term.buffer);
    step.lr = term.lr;
    step.weight_decay = term.weight_decay;
    step.scale = term.scale;
    step.momentum = rule.momentum;
    step.dampening = rule.dampening;
    step.first = term.first;
    step.nesterov = rule.nesterov;
    groups[size_t(term.parameter.dtype())].add(i, step, term.parameter.numel(),
                                               {step.parameter, step.gradient, step.buffer});
  }
  return groups;
}

Groups<AdamWStep> steps_of(std::span<AdamWTerm> terms, const AdamWRule& rule) {
  const Device device = device_of(terms);
  Groups<AdamWStep> groups;
  for (size_t i = 0; i < terms.size(); ++i) {
    AdamWTerm& term = terms[i];
    check_term("adamw", device, term.parameter, {&term.gradient, &term.mean, &term.square, &term.largest});
    AdamWStep step;
    step.parameter = pointer_to_write(term.parameter);
    step.gradient = pointer(term.gradient);
    step.mean = pointer_to_write(term.mean);
    step.square = pointer_to_write(term.square);
    step.largest = pointer_to_write(term.largest);
    step.beta1 = rule.beta1;
    step.beta2 = rule.beta2;
    step.eps = rule.eps;
    step.kept = 1 - term.lr * term.weight_decay;
    step.step = term.lr / (1 - std::pow(rule.beta1, double(term.step)));
    step.square_correction = 1 / std::sqrt(1 - std::pow(rule.beta2, double(term.step)));
    groups[size_t(term.parameter.dtype())].add(i, step, term.parameter.numel(),
                                               {step.parameter, step.gradient, step.mean, step.square, step.largest});
  }
  return groups;
}

Groups<LambStep> steps_of(std::span<LambTerm> terms, const LambRule& rule) {
  const Device device = device_of(terms);
  Groups<LambStep> groups;
  for (size_t i = 0; i < terms.size(); ++i) {
    LambTerm& term = terms[i];
    check_term("lamb", device, term.parameter, {&term.gradient, &term.mean, &term.square});
    LambStep step;
    step.parameter = pointer_to_write(term.parameter);
    step.gradient = pointer(term.gradient);
    step.mean = pointer_to_write(term.mean);
    step.square = pointer_to_write(term.square);
    step.beta1 = rule.beta1;
    step.beta2 = rule.beta2;
    step.eps = rule.eps;
    step.lr = term.lr;
    step.weight_decay = term.weight_decay;
    step.norm_floor = rule.norm_floor;
    step.mean_correction = 1 / (1 - std::pow(rule.beta1, double(term.step)));
    step.square_correction = 1 / std::sqrt(1 - std::pow(rule.beta2, double(term.step)));
    step.trust = term.trust;
    groups[size_t(term.parameter.dtype())].add(i, step, term.parameter.numel(),
                                               {step.parameter, step.gradient, step.mean, step.square});
  }
  return groups;
}

// launch(table) for each group of the terms' steps: those in `steps`, or brought here.
template <class Term, class Rule, class Launch>
void launch_update(std::span<Term> terms, const Rule& rule, const Tensor& gate, const Tensor& steps, Launch launch) {
  const Device device = device_of(terms);
  check_gate(device, gate);
  const auto groups = steps_of(terms, rule);
  launch_groups(groups, steps.defined() ? steps : upload(groups, device), launch);
}

}  // namespace

Tensor sgd_steps(std::span<SgdTerm> terms, const SgdRule& rule) {
  return upload(steps_of(terms, rule), device_of(terms));
}

void sgd_update(std::span<SgdTerm> terms, const SgdRule& rule, const Tensor& gate, const Tensor& steps) {
  launch_update(terms, rule, gate, steps, [&](const Table<SgdStep>& table) { launch_sgd(table, view(gate)); });
}

Tensor adamw_steps(std::span<AdamWTerm> terms, const AdamWRule& rule) {
  return upload(steps_of(terms, rule), device_of(terms));
}

void adamw_update(std::span<AdamWTerm> terms, const AdamWRule& rule, const Tensor& gate, const Tensor& steps) {
  launch_update(terms, rule, gate, steps, [&](const Table<AdamWStep>& table) { launch_adamw(table, view(gate)); });
}

Tensor lamb_steps(std::span<LambTerm> terms, const LambRule& rule) {
  return upload(steps_of(terms, rule), device_of(terms));
}

void lamb_update(std::span<LambTerm> terms, const LambRule& rule, const Tensor& gate, const Tensor& steps) {
  const Device device = device_of(terms);
  launch_update(terms, rule, gate, steps, [&](const Table<LambStep>& table) {
    Tensor parts = scratch(2 * table.pieces, device), rates = scratch(table.size, device);
    launch_lamb(table, output(parts), output(rates), view(gate));
  });
}

std::vector<double> norms(std::span<const Tensor> tensors) {
  std::vector<double> result = products("norms", tensors, tensors);
  for (double& norm : result) norm = std::sqrt(norm);
  return result;
}

double inner_product(std::span<const Tensor> xs, std::span<const Tensor> ys) {
  return total_of(products("inner_product", xs, ys));
}

double global_norm(std::span<const Tensor> tensors) {
  return std::sqrt(total_of(products("global_norm", tensors, tensors)));
}

double perturbation_norm(std::span<const PerturbationTerm> terms, double eta) {
  const Device device = device_of(terms);
  Groups<Perturbation> groups = perturbations("perturbation_norm", device, terms, eta, 0);
  return std::sqrt(total_of(sums_of(groups, terms.size(), device, launch_perturbation_squares)));
}

void perturb(std::span<PerturbationTerm> terms, double eta, double factor) {
  const Device device = device_of(terms);
  Groups<Perturbation> groups = perturbations("perturb", device, terms, eta, factor);
  for (PerturbationTerm& term : terms) term.parameter.mutable_raw();  // the version moves
  launch_groups(groups, device, launch_perturb);
}

void add_all(std::span<const Tensor> xs, std::span<Tensor> ys, double factor) {
  const Device device = xs.front().device();
  Groups<Pair> groups = pairs("add_all", xs, ys, factor);
  for (Tensor& y : ys) y.mutable_raw();  // the version moves
  launch_groups(groups, device, launch_add);
}

void copy_all(std::span<const Tensor> xs, std::span<Tensor> ys) {
  const Device device = xs.front().device();
  Groups<Pair> groups = pairs("copy_all", xs, ys);
  for (Tensor& y : ys) y.mutable_raw();
  launch_groups(groups, device, launch_move);
}

void scale_all(std::span<Tensor> tensors, double factor) { scale(tensors, factor, Tensor()); }

Clipped clip(std::span<Tensor> gradients, double most, const Tensor& loss) {
  const Device device = gradients.front().device();
  check_loss(device, loss);
  Groups<Pair> groups = pairs("clip", gradients, gradients);
  Tensor squares = scratch(std::ssize(gradients), device);
  int64_t done = 0;
  launch_groups(groups, device, [&](const Table<Pair>& table) {
    Tensor parts = scratch(table.pieces, device), own = squares.alias({table.size}, {1}, done);
    launch_products(table, output(parts), output(own));
    done += table.size;
  });
  Clipped clipped{scratch(1, device), scratch(1, device)};
  launch_clip(view(squares), view(loss), most, output(clipped.norm), output(clipped.gate));
  scale(gradients, 1, clipped.gate);
  return clipped;
}

}  // namespace mora::kernels::cuda
