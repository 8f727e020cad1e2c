// The forward and backward pass of a batch on a device, and the update where it follows at once, recorded as a CUDA
// graph and replayed for batches like it: what the processor would do for each launch again is done once.
//
// Batches are filled up, so that few shapes occur (mora/training/filled_batch.h). The first batch of a shape runs as
// ever, so that memory and libraries are ready; the second is recorded; each after it is a replay. All give the same
// bits. What differs between batches of a shape is in the tensors of StepInputs, and nowhere else: a pass that reads it
// on the processor, or brings more of it to the device, cannot be recorded (engine/graph.h), and passes run as ever
// from then on.
#pragma once

#include <array>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "engine/graph.h"
#include "mora/training/objective.h"
#include "optim/mora_optimizer.h"

namespace mora {

struct StepInputs {
  BatchTensors batch;
  Tensor numbers;     // f32 (3): the three below
  Tensor clock = {};  // Context::clock; undefined on the processor

  Tensor share() const { return number(0); }  // what the batch's total loss is multiplied by in the update's
  Tensor part() const { return number(1); }   // what penalties are, with this batch
  Tensor seed() const { return number(2); }   // what the gradient of the loss is

 private:
  Tensor number(int64_t i) const { return numbers.alias({}, {}, i); }
};

// `labels`: those of the whole update, what its loss is divided by; `scale`: what the gradient is multiplied by.
// `fill`: the batch is filled up, and the inputs have a clock, as graphs need them.
StepInputs step_inputs(const Objective& objective, const PackedBatch& batch, double labels, double scale,
                       const Context& context, Device device, bool fill);

struct StepResult {
  Tensor loss;  // f32 ()
  Tensors gradients;
  std::optional<MoRAOptimizer::Begun> update = {};
};

class StepGraphs {
 public:
  // The gradients are those of the optimizer's parameters, all of f32. `note` is told once why passes cannot be
  // recorded, where they cannot.
  using Note = std::function<void(const std::string& line)>;
  StepGraphs(Device device, MoRAOptimizer& optimizer, Note note);

  // What `pass` gives for the inputs, by calling it or by a replay; with `lr`, the update at this rate is begun too.
  // The result is the caller's to write to; gradients whose update was begun hold until the next call.
  using Pass = FunctionRef<StepResult(const StepInputs&)>;
  StepResult run(const StepInputs& inputs, Pass pass, std::optional<double> lr = {});

  int64_t replayed() const { return replayed_; }  // batches

 private:
  using Key = std::array<int64_t, 5>;  // tokens, offsets, labelled tokens, tensors; whether it has the update
  struct Recorded {
    StepInputs inputs;
    std::optional<MoRAOptimizer::Begun> update;
    std::unique_ptr<Graph> graph;  // null: seen once
  };
  Recorded* recorded_for(const StepInputs& inputs, Pass pass, bool update);  // null: the pass is to be called
  void record(Recorded& recorded, const StepInputs& inputs, Pass pass, bool update);
  StepResult replay(const Recorded& recorded, const StepInputs& inputs, double lr);
  Tensors views_of(const Tensor& flat) const;

  MoRAOptimizer& optimizer_;
  std::vector<Shape> shapes_;  // of the gradients
  Tensor gradients_, loss_;    // what a replay leaves, the gradients one after the other
  Tensor steps_;               // what it reads of the optimizer's step
  Ref<GraphPool> pool_;
  std::map<Key, Recorded> recorded_;
  int64_t replayed_ = 0;
  bool refused_ = false;
  Note note_;
};

}  // namespace mora
