#include "mora/training/sharpness.h"

#include <Eigen/Eigenvalues>
#include <algorithm>
#include <cmath>

#include "autograd/ops/arithmetic.h"
#include "autograd/ops/reduce.h"
#include "kernels/binary.h"
#include "kernels/copy.h"
#include "kernels/optimizer.h"

namespace mora {
namespace {

constexpr int64_t rows_at_once = 16;

Tensors clone(std::span<const Tensor> tensors) {
  Tensors result;
  for (const Tensor& t : tensors) result.push_back(kernels::copied(t));
  return result;
}

void add_to(Tensors& sums, std::span<const Tensor> terms, double factor) {
  for (size_t i = 0; i < terms.size(); ++i) kernels::axpy(terms[i], sums[i], factor);
}

Tensors random_unit_vector(std::span<const Tensor> like, uint64_t seed) {
  Tensors v;
  uint64_t layer = 0;
  for (const Tensor& t : like) {
    const RandomStream stream({.seed = seed, .layer = layer++, .purpose = Purpose::probe});
    std::vector<float> values(size_t(t.numel()));
    for (size_t i = 0; i < values.size(); ++i) values[i] = float(stream.normal(i));
    v.push_back(Tensor::from(values, t.shape()).to(t.device()));
  }
  kernels::scale_all(v, 1 / kernels::global_norm(v));
  return v;
}

// Eigenvalues of the tridiagonal T (k, k) in rising order, and the last entry of the largest one's vector.
struct Ritz {
  double smallest, largest, last_entry;
};
Ritz ritz_of(const std::vector<double>& diagonal, const std::vector<double>& beside) {
  const auto k = Eigen::Index(diagonal.size());
  Eigen::SelfAdjointEigenSolver<Eigen::MatrixXd> solver;
  solver.computeFromTridiagonal(Eigen::Map<const Eigen::VectorXd>(diagonal.data(), k),
                                Eigen::Map<const Eigen::VectorXd>(beside.data(), k - 1));
  return {solver.eigenvalues()(0), solver.eigenvalues()(k - 1), solver.eigenvectors()(k - 1, k - 1)};
}

// The mean loss as a function of what the model trains.
class MeanLoss {
 public:
  MeanLoss(MoRAModel& model, const TaskData& data, Task task)
      : model_(model),
        data_(data),
        objective_{.task = task, .class_weights = {}},
        plan_(plan_epoch(data.lengths(), {.batch_size = rows_at_once, .shuffle = false}, 0)) {
    model.visit_parameters([&](const std::string&, Tensor& value) { parameters_.push_back(value); });
    for (int64_t i = 0; i < plan_.size(); ++i) weight_ += objective_.weight(data.batch(plan_.batch(i)));
    weight_ = std::max(1.0, weight_);
  }

  const Tensors& parameters() const { return parameters_; }

  double value() const {
    const NoGrad no_grad;
    double sum = 0;
    for_each_batch([&](const Tensor& loss) { sum += loss.item(); });
    return sum;
  }
  Tensors gradient() const {
    return summed([&](const Tensor& loss) { return grad(loss, parameters_); });
  }
  // ∇(∇L·v)
  Tensors hessian_product(std::span<const Tensor> v) const {
    return summed([&](const Tensor& loss) {
      const Tensors g = grad(loss, parameters_, {.create_graph = true});
      Tensor along = sum(g[0] * v[0]);
      for (size_t i = 1; i < g.size(); ++i) along = along + sum(g[i] * v[i]);
      return grad(along, parameters_, {.allow_unused = true});
    });
  }

 private:
  template <class F>
  void for_each_batch(F f) const {
    for (int64_t i = 0; i < plan_.size(); ++i) {
      Context context;
      f(objective_.total(model_, data_.batch(plan_.batch(i)), context) / weight_);
    }
  }
  template <class F>
  Tensors summed(F f) const {
    Tensors sums;
    for (const Tensor& p : parameters_) sums.push_back(Tensor::zeros(p.shape(), p.dtype(), p.device()));
    for_each_batch([&](const Tensor& loss) {
      const Tensors found = f(loss);
      for (size_t i = 0; i < found.size(); ++i)
        if (found[i].defined()) kernels::axpy(found[i], sums[i], 1);
    });
    return sums;
  }

  const MoRAModel& model_;
  const TaskData& data_;
  Objective objective_;
  EpochPlan plan_;
  Tensors parameters_;
  double weight_ = 0;
};

std::vector<Sharpness::Point> curve_along(const MeanLoss& loss, std::span<const Tensor> gradient, double norm,
                                          const SharpnessOptions& options) {
  std::vector<Sharpness::Point> curve;
  const Tensors saved = clone(loss.parameters());
  Tensors live = loss.parameters();
  auto restore = [&] {
    for (size_t i = 0; i < live.size(); ++i) kernels::copy(saved[i], live[i]);
  };
  for (int64_t k = 0; k < options.points; ++k) {
    const double t = options.points == 1 ? options.rho : options.rho * (2 * double(k) / double(options.points - 1) - 1);
    if (norm > 0) add_to(live, gradient, t / norm);
    curve.push_back({t, loss.value()});
    restore();
  }
  return curve;
}

}  // namespace

Extremes extreme_eigenvalues(Product product, std::span<const Tensor> like, const SharpnessOptions& options) {
  std::vector<Tensors> basis{random_unit_vector(like, options.seed)};
  std::vector<double> diagonal, beside;
  Extremes found;
  while (found.iterations < options.iterations) {
    Tensors next = product(basis.back());
    ++found.iterations;
    diagonal.push_back(kernels::inner_product(next, basis.back()));
    for (int pass = 0; pass < 2; ++pass)
      for (const Tensors& v : basis) add_to(next, v, -kernels::inner_product(next, v));
    const double length = kernels::global_norm(next);
    const Ritz ritz = ritz_of(diagonal, beside);
    found.largest = ritz.largest;
    found.smallest = ritz.smallest;
    found.residual = length * std::abs(ritz.last_entry);
    const double scale = std::max(std::abs(ritz.largest), std::abs(ritz.smallest));
    if (found.residual <= options.tolerance * std::abs(ritz.largest) || length <= 1e-6 * scale) break;
    kernels::scale_all(next, 1 / length);
    beside.push_back(length);
    basis.push_back(std::move(next));
  }
  return found;
}

Sharpness measure_sharpness(MoRAModel& model, const TaskData& data, Task task, const SharpnessOptions& options) {
  const MeanLoss loss(model, data, task);
  require<ConfigError>(!loss.parameters().empty(), "sharpness: the model has no adapter and no head to look around");
  Sharpness result{.loss = loss.value(), .gradient_norm = 0, .hessian = {}, .curve = {}};
  const Tensors gradient = loss.gradient();
  result.gradient_norm = kernels::global_norm(gradient);
  result.hessian = extreme_eigenvalues([&](std::span<const Tensor> v) { return loss.hessian_product(v); },
                                       loss.parameters(), options);
  result.curve = curve_along(loss, gradient, result.gradient_norm, options);
  return result;
}

}  // namespace mora
