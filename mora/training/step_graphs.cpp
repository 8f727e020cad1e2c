#include "mora/training/step_graphs.h"

#include <algorithm>

#include "kernels/copy.h"
#include "kernels/optimizer.h"
#include "mora/training/filled_batch.h"

namespace mora {
namespace {

constexpr size_t most_graphs = 128;
constexpr int64_t alignment = 64;  // elements between the starts of gradients: kernels move 16 bytes at once
int64_t room(const Shape& shape) { return (shape.numel() + alignment - 1) / alignment * alignment; }

// The tensors on the device that differ between batches.
Tensors tensors_of(const StepInputs& in) {
  const BatchTensors& b = in.batch;
  Tensors all;
  for (const Indices* i : {&b.sequences.ids, &b.sequences.positions, &b.sequences.type_ids, &b.sequences.offsets})
    all.push_back(i->defined() ? i->tensor() : Tensor());
  if (b.labelled) all.insert(all.end(), {b.labelled->rows, b.labelled->labels});
  all.insert(all.end(), {b.rows.targets, b.rows.weights, in.numbers, in.clock});
  std::erase_if(all, [](const Tensor& t) { return !t.defined(); });
  return all;
}

}  // namespace

StepInputs step_inputs(const Objective& objective, const PackedBatch& batch, double labels, double scale,
                       const Context& context, Device device, bool fill) {
  const std::vector<float> numbers{float(1 / labels), float(objective.weight(batch) / labels), float(scale)};
  StepInputs inputs{.batch = objective.tensors(fill ? filled(batch, objective.task) : batch, device, fill),
                    .numbers = Tensor::from(numbers, {3}).to(device)};
  const std::vector<int64_t> clock{int64_t(context.epoch), int64_t(context.step)};
  if (fill) inputs.clock = Tensor::from(clock, {2}).to(device);
  return inputs;
}

StepGraphs::StepGraphs(Device device, MoRAOptimizer& optimizer, Note note)
    : optimizer_(optimizer), pool_(make_ref<GraphPool>(device)), note_(std::move(note)) {
  int64_t elements = 0;
  for (const Parameter& p : optimizer.parameters()) {
    invariant(p.value.dtype() == DType::f32, "a parameter of {}", name_of(p.value.dtype()));
    shapes_.push_back(p.value.shape());
    elements += room(p.value.shape());
  }
  gradients_ = Tensor::zeros({elements}, DType::f32, device);
  loss_ = Tensor::zeros({}, DType::f32, device);
}

Tensors StepGraphs::views_of(const Tensor& flat) const {
  Tensors views;
  int64_t offset = 0;
  for (const Shape& shape : shapes_) {
    views.push_back(flat.alias(shape, contiguous_strides(shape), offset));
    offset += room(shape);
  }
  return views;
}

StepResult StepGraphs::run(const StepInputs& inputs, Pass pass, std::optional<double> lr) {
  const Recorded* recorded = recorded_for(inputs, pass, lr && optimizer_.is_recordable());
  StepResult result = recorded ? replay(*recorded, inputs, lr.value_or(0)) : pass(inputs);
  if (lr && !result.update) result.update = optimizer_.begin(result.gradients, *lr, result.loss);
  return result;
}

StepGraphs::Recorded* StepGraphs::recorded_for(const StepInputs& inputs, Pass pass, bool update) {
  if (refused_) return nullptr;
  const BatchTensors& batch = inputs.batch;
  const Key key{batch.sequences.tokens(), batch.sequences.offsets.size(), batch.labelled ? batch.labelled->count() : 0,
                std::ssize(tensors_of(inputs)), update};
  const auto at = recorded_.find(key);
  if (at == recorded_.end()) {
    if (recorded_.size() < most_graphs) recorded_.emplace(key, Recorded{});
    return nullptr;
  }
  if (!at->second.graph) {
    try {
      record(at->second, inputs, pass, update);
    } catch (const DeviceError& error) {
      refused_ = true;
      recorded_.clear();
      note_(fmt::format("passes are not replayed as CUDA graphs: {}", error.what()));
      return nullptr;
    }
  }
  return &at->second;
}

void StepGraphs::record(Recorded& recorded, const StepInputs& inputs, Pass pass, bool update) {
  Tensors views = views_of(gradients_);
  if (update && !steps_.defined()) steps_ = optimizer_.next_steps(views, 0);
  recorded.graph = std::make_unique<Graph>(pool_, [&] {
    const StepResult result = pass(inputs);
    kernels::copy_all(result.gradients, views);
    kernels::copy(result.loss, loss_);
    if (update) recorded.update = optimizer_.begin_recorded(views, steps_, loss_);
  });
  recorded.inputs = inputs;  // where the graph reads: each batch is written there
}

StepResult StepGraphs::replay(const Recorded& recorded, const StepInputs& inputs, double lr) {
  const Tensors from = tensors_of(inputs);
  Tensors to = tensors_of(recorded.inputs), views = views_of(gradients_);
  for (size_t i = 0; i < from.size(); ++i)
    if (!from[i].same_as(to[i])) kernels::copy(from[i], to[i]);
  if (recorded.update) kernels::copy(optimizer_.next_steps(views, lr), steps_);
  recorded.graph->replay();
  ++replayed_;
  const Tensor loss = kernels::copied(loss_);
  if (!recorded.update) return {loss, views_of(kernels::copied(gradients_))};
  MoRAOptimizer::Begun update = *recorded.update;
  optimizer_.count(update);
  update.gradient_norm = kernels::copied(update.gradient_norm);
  update.gate = kernels::copied(update.gate);
  return {loss, views, std::move(update)};
}

}  // namespace mora
