#include "mora/training/update_gradients.h"

#include <algorithm>

#include "autograd/grad.h"
#include "autograd/ops/arithmetic.h"
#include "kernels/copy.h"
#include "kernels/optimizer.h"
#include "mora/training/routing_metrics.h"

namespace mora {

// Routed layers choose on the processor, and count each token.
void UpdateGradients::renew() {
  const Device device = setup_.model->base().device();
  if (!may_replay_ || device == cpu || config_.adapter.experts || config_.adapter.act) return;
  Tensors leaves;
  for (const Parameter& p : optimizer_.parameters()) leaves.push_back(p.value);
  if (graphs_) replayed_ += graphs_->replayed();
  graphs_.emplace(device, leaves, note_);
}

Tensors UpdateGradients::of(const std::vector<PackedBatch>& batches, const Progression& at, int64_t first,
                            Tensors& gradients, RoutedLayers* routed) {
  double labels = 0;
  const double scale = scaled() ? at.scaler.scale : 1;
  Tensors losses;
  for (const PackedBatch& b : batches) labels += setup_.objective.weight(b);
  for (const PackedBatch& batch : batches) {
    RoutedLayers of_batch;
    Context context;
    context.training = true;
    context.recompute = config_.train.recompute;
    context.seed = uint64_t(config_.train.seed);
    context.epoch = uint64_t(at.epoch);
    context.step = uint64_t(first++);
    if (routed) context.routed = &of_batch;
    const StepInputs inputs = step_inputs(setup_.objective, batch, std::max(1.0, labels), scale, context,
                                          setup_.model->base().device(), graphs_.has_value());
    const auto pass = [&](const StepInputs& in) { return this->pass(in, context); };
    StepResult found = graphs_ ? graphs_->run(inputs, pass) : pass(inputs);
    losses.push_back(found.loss);
    if (gradients.empty())
      gradients = std::move(found.gradients);
    else
      kernels::add_all(found.gradients, gradients);
    if (routed) accumulate(*routed, of_batch);
  }
  if (scaled()) kernels::scale_all(gradients, 1 / at.scaler.scale);
  continual_.mask(gradients);
  return losses;
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
