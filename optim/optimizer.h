// What every optimizer is: named parameters, their moments, and an update in place.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "engine/tensor.h"

namespace mora {

// A trained tensor (f32 or f64, contiguous) and where it departs from the optimizer's own settings.
struct Parameter {
  std::string name;
  Tensor value;
  double lr_scale = 1;                   // of the step's learning rate: LoRA+'s B, a head of its own
  double rank_scale = 1;                 // of it too, by rank events: MoRAScheduler::rank_scale
  std::optional<double> weight_decay{};  // 0 for biases and norms
  bool is_weight = true;                 // false for biases and norms: no trust ratio (LARS, LAMB), no scale (ASAM)
};

struct NamedTensor {
  std::string name;
  Tensor tensor;
};

class Optimizer {
 public:
  virtual ~Optimizer() = default;

  const std::vector<Parameter>& parameters() const { return parameters_; }

  // One update in place with learning rate `lr`. gradients[i] belongs to parameters()[i]; an undefined one leaves its
  // parameter, moments and step count as they are. Throws ShapeError when counts or shapes differ. Where `gate` is NaN
  // (kernels/optimizer.h) no update is made, but for the step counts: count(…, −1), once it is known.
  void step(std::span<const Tensor> gradients, double lr, const Tensor& gate = {});
  // A step that a graph does again (engine/graph.h): `recorded_step` is recorded, and counts none; what `next_steps`
  // gives of a step, u8 (n) on the device (kernels/optimizer.h), is written to its `steps` before each replay.
  void recorded_step(std::span<const Tensor> gradients, const Tensor& steps, const Tensor& gate);
  Tensor next_steps(std::span<const Tensor> gradients, double lr);
  virtual bool is_recordable() const { return true; }  // false: it looks at norms to go on
  // The parameters with gradients have made so many more steps: a replay's, or, once it is known that a step was not
  // made, one less.
  void count(const std::vector<bool>& had_gradient, int64_t steps);

  // Everything a checkpoint needs to go on: each moment as "PARAMETER.MOMENT" and the updates made so far as
  // "PARAMETER.step" (i64, 1). The tensors are the live ones.
  std::vector<NamedTensor> state() const;
  // Copies a saved state in. Throws ConfigError that names what is missing, left over, or of another shape or dtype.
  void load_state(std::span<const NamedTensor> saved);

  // Rank events. `resize` gives parameter i a new tensor and turns each of its moments by the same selection of rows or
  // columns (old moment → new); its step count goes on. `restart` gives it a new tensor and forgets its past.
  void resize(size_t i, Tensor value, const std::function<Tensor(const Tensor&)>& select);
  void restart(size_t i, Tensor value);
  void set_rank_scale(size_t i, double scale) { parameters_.at(i).rank_scale = scale; }

 protected:
  struct Moments {
    std::vector<Tensor> tensors;  // as moment_names
    int64_t steps() const { return *step.data<int64_t>(); }
    Tensor step;
  };
  // A parameter with a gradient, its settings resolved.
  struct Update {
    const Parameter& parameter;
    const Tensor& gradient;
    Moments& moments;
    double lr, weight_decay;
    int64_t number;  // from 1
  };

  Optimizer(std::vector<Parameter> parameters, std::vector<std::string> moment_names, double weight_decay);
  virtual void update(std::span<const Update> updates, const Tensor& gate, const Tensor& steps) = 0;
  virtual Tensor steps(std::span<const Update>) { return {}; }

 private:
  std::vector<Update> updates_of(std::span<const Tensor> gradients, double lr);
  Moments fresh(const Parameter& parameter) const;

  std::vector<Parameter> parameters_;
  std::vector<Moments> moments_;
  std::vector<std::string> moment_names_;
  double weight_decay_;
};

}  // namespace mora
