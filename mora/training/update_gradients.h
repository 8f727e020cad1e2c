// An update and its gradients: forward and backward passes of its batches, on a card replayed where their shapes
// repeat.
#pragma once

#include <vector>

#include "mora/training/checkpoint.h"
#include "mora/training/continual.h"
#include "mora/training/setup.h"
#include "mora/training/step_graphs.h"
#include "optim/mora_optimizer.h"

namespace mora {

class UpdateGradients {
 public:
  // What is given stays the caller's, and outlives this. `graphs`: passes may be replayed; `note` as StepGraphs has it.
  UpdateGradients(const Config& config, const TrainingSetup& setup, const ContinualPlan& continual,
                  MoRAOptimizer& optimizer, bool graphs, StepGraphs::Note note)
      : config_(config),
        setup_(setup),
        continual_(continual),
        optimizer_(optimizer),
        may_replay_(graphs),
        note_(std::move(note)) {}

  // Before the first update, and when the optimizer has got other tensors.
  void renew();

  // The gradient of the mean loss over all that is labelled in the update, added to `gradients`, and that loss, batch
  // by batch: a device has yet to compute them. `first` is the number of the first batch: called again with it, dropout
  // repeats. `routed`: what routed layers did is added.
  Tensors of(const std::vector<PackedBatch>& batches, const Progression& at, int64_t first, Tensors& gradients,
             RoutedLayers* routed = nullptr);
  // The same from batch Progression::micro_batch on, and the update at rate `lr` is begun: what there is to do on a
  // device, which is not waited for (but by LARS, whose rates are norms, and by some routed layers: docs/cuda.md). A
  // batch that is an update by itself has all of it in its graph, and `gradients` then hold until the next pass.
  MoRAOptimizer::Begun begin_update(const std::vector<PackedBatch>& batches, const Progression& at, double lr,
                                    Tensors& gradients, Tensors& losses, RoutedLayers* routed);

  // Whether losses are scaled by Progression::scaler.
  bool scaled() const { return config_.train.precision == Precision::f16; }
  int64_t replayed() const { return replayed_ + (graphs_ ? graphs_->replayed() : 0); }  // batches

 private:
  StepResult of_batch(const PackedBatch& batch, double labels, const Progression& at, int64_t number,
                      RoutedLayers* routed, std::optional<double> lr = {});
  StepResult pass(const StepInputs& in, Context context) const;

  const Config& config_;
  const TrainingSetup& setup_;
  const ContinualPlan& continual_;
  MoRAOptimizer& optimizer_;
  bool may_replay_;
  StepGraphs::Note note_;
  std::optional<StepGraphs> graphs_;  // on a device
  int64_t replayed_ = 0;              // by those of before
};

}  // namespace mora
