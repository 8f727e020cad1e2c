#include "mora/training/update_gradients.h"

#include <algorithm>

#include "autograd/grad.h"
#include "autograd/ops/arithmetic.h"
#include "kernels/copy.h"
#include "kernels/optimizer.h"
#include "mora/training/routing_metrics.h"

namespace mora {

// Not with experts or adaptive steps, whose losses and counts are of every token: of those that fill a batch too.
void UpdateGradients::renew() {
  const Device device = setup_.model->base().device();
  if (!may_replay_ || device == cpu || config_.adapter.experts || config_.adapter.act) return;
  if (graphs_) replayed_ += graphs_->replayed();
  graphs_.emplace(device, optimizer_, note_);
}

Tensors UpdateGradients::of(const std::vector<PackedBatch>& batches, const Progression& at, int64_t first,
                            Tensors& gradients, RoutedLayers* routed) {
  double labels = 0;
  Tensors losses;
  for (const PackedBatch& b : batches) labels += setup_.objective.weight(b);
  for (const PackedBatch& batch : batches) {
    StepResult found = of_batch(batch, labels, at, first++, routed);
    losses.push_back(found.loss);
    if (gradients.empty())
      gradients = std::move(found.gradients);
    else
      kernels::add_all(found.gradients, gradients);
  }
  if (scaled()) kernels::scale_all(gradients, 1 / at.scaler.scale);
  continual_.mask(gradients);
  return losses;
}

MoRAOptimizer::Begun UpdateGradients::begin_update(const std::vector<PackedBatch>& batches, const Progression& at,
                                                   double lr, Tensors& gradients, Tensors& losses,
                                                   RoutedLayers* routed) {
  if (graphs_ && batches.size() == 1 && !scaled() && !config_.continual) {
    const double labels = setup_.objective.weight(batches[0]);
    StepResult found = of_batch(batches[0], labels, at, at.micro_batch, routed, lr);
    gradients = std::move(found.gradients);
    losses = {found.loss};
    return *found.update;
  }
  losses = of(batches, at, at.micro_batch, gradients, routed);
  const NoGrad no_grad;
  Tensor loss = losses.front();
  for (size_t i = 1; i < losses.size(); ++i) loss = loss + losses[i];
  return optimizer_.begin(gradients, lr, loss);
}

StepResult UpdateGradients::of_batch(const PackedBatch& batch, double labels, const Progression& at, int64_t number,
                                     RoutedLayers* routed, std::optional<double> lr) {
  RoutedLayers noted;
  Context context;
  context.training = true;
  context.recompute = config_.train.recompute;
  context.seed = uint64_t(config_.train.seed);
  context.epoch = uint64_t(at.epoch);
  context.step = uint64_t(number);
  if (routed) context.routed = &noted;
  const double scale = scaled() ? at.scaler.scale : 1;
  const StepInputs inputs = step_inputs(setup_.objective, batch, std::max(1.0, labels), scale, context,
                                        setup_.model->base().device(), graphs_.has_value());
  const auto pass = [&](const StepInputs& in) { return this->pass(in, context); };
  StepResult found = graphs_ ? graphs_->run(inputs, pass, lr) : pass(inputs);
  if (routed) accumulate(*routed, noted);
  return found;
}

StepResult UpdateGradients::pass(const StepInputs& in, Context context) const {
  context.clock = in.clock;
  Tensor mean = setup_.objective.total(*setup_.model, in.batch, context) * in.share();
  Tensors penalties = std::move(context.losses), leaves;
  for (const Tensor& penalty : {setup_.model->penalty(), continual_.penalty(optimizer_.parameters())})
    if (penalty.defined()) penalties.push_back(penalty);
  for (const Tensor& penalty : penalties) mean = mean + penalty * in.part();
  for (const Parameter& p : optimizer_.parameters()) leaves.push_back(p.value);
  const Tensor seed = in.seed();
  StepResult result{mean.detach(), grad(std::span(&mean, 1), leaves, {}, std::span(&seed, 1))};
  for (Tensor& g : result.gradients) {  // clipped and added to in place: each must be dense and nobody else's
    if (!(g.is_contiguous() && g.use_count() == 1 && g.storage()->use_count() == 1)) g = kernels::copied(g);
  }
  return result;
}

}  // namespace mora
