#include "mora/training/memory_plan.h"

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <limits>
#include <map>
#include <set>
#include <utility>

#include "autograd/grad.h"
#include "engine/allocator.h"
#include "engine/cuda.h"
#include "mora/adapters/embedding_lora.h"
#include "mora/adapters/mora.h"
#include "mora/experts/routed_layer.h"
#include "mora/training/process_memory.h"
#include "mora/training/sample_writer.h"
#include "mora/training/update_plan.h"

namespace mora {
namespace {

constexpr int64_t kFloat = 4;
constexpr int64_t kCardWorkspace = int64_t{128} << 20;  // of the libraries, and what the pool cannot fill

int64_t tokens_of(std::span<const int64_t> rows, const TaskData& data) {
  int64_t tokens = 0;
  for (int64_t row : rows) tokens += data.lengths()[size_t(row)];
  return tokens;
}

// The batch of an epoch with the most tokens.
std::span<const int64_t> longest_batch(const EpochPlan& plan, const TaskData& data) {
  int64_t longest = 0;
  for (int64_t i = 1; i < plan.size(); ++i)
    if (tokens_of(plan.batch(i), data) > tokens_of(plan.batch(longest), data)) longest = i;
  return plan.batch(longest);
}

// Every linear of the model, and the language model's head, once.
std::set<const kernels::FrozenWeight*> frozen_linears(Model& model) {
  std::set<const kernels::FrozenWeight*> found;
  auto add = [&](const std::string&, LinearSlot& slot) { found.insert(slot->frozen().get()); };
  model.visit_linears(add);
  model.visit_extra_linears(add);
  if (model.lm_head()) found.insert(model.lm_head().get());
  return found;
}

int64_t embedding_bytes(Model& model) {
  const HfConfig& c = model.config();
  const int64_t positions = longest_sequence(c) < std::numeric_limits<int32_t>::max() ? c.max_position_embeddings : 0;
  return c.hidden_size * kFloat * (c.vocab_size + positions + c.type_vocab_size);
}

// The linears packed for each direction, which is all that stays of them.
int64_t packed_weight_bytes(Model& model) {
  const bool bf16 = model.dtype() == DType::bf16 && kernels::bf16_products() == kernels::Bf16Products::native;
  const auto element = int64_t(size_of(bf16 ? DType::bf16 : DType::f32));
  int64_t bytes = 0;
  for (const auto* w : frozen_linears(model)) bytes += 2 * element * w->in() * w->out();
  return bytes;
}

// On a card: each linear in the dtype of the activations, and each table as it is, which a tied head of that dtype
// shares.
int64_t resident_weight_bytes(Model& model) {
  std::map<const kernels::FrozenWeight*, std::set<DType>> forms;
  for (const auto* w : frozen_linears(model)) forms[w].insert(model.dtype());
  model.visit_embeddings(
      [&](const std::string&, LinearSlot& slot) { forms[slot->frozen().get()].insert(slot->frozen()->meta().dtype); });
  int64_t bytes = 0;
  for (const auto& [w, dtypes] : forms)
    for (const DType dtype : dtypes) bytes += int64_t(size_of(dtype)) * w->in() * w->out();
  return bytes;
}

// What autograd keeps of a token, in numbers: of a layer the residual stream (twice), what attention reads and gives,
// and the inputs of the activation (outputs of norms and activations are computed again); of an adapted linear x·Aᵀ, or
// with dropout the dropped x and what the adapter makes of it; what MoRA compresses is else computed again. With
// recomputation: each layer's input, and of one layer all of it.
int64_t activation_numbers(MoRAModel& model, bool dropout, bool recompute) {
  const HfConfig& c = model.base().config();
  const int64_t d = c.hidden_size, f = c.intermediate_size;
  const int64_t q = c.num_attention_heads * c.head_dim, kv = c.num_key_value_heads * c.head_dim;
  const bool gated = c.model_type != "gpt2" && model.base().lm_head();  // SwiGLU reads gate and up
  int64_t numbers = c.num_hidden_layers * (2 * d + 2 * q + 2 * kv + (gated ? 2 : 1) * f);
  for (const auto& [path, linear] : model.adapted()) {
    const auto* mora = dynamic_cast<const MoRA*>(&linear->layer());
    if (const auto* routed = dynamic_cast<const RoutedLayer*>(&linear->layer())) {
      numbers += routed->kept_numbers(dropout);
      continue;
    }
    const int64_t compressed = mora ? mora->op().chunks() * mora->op().rank : linear->layer().rank();
    if (dropout && !dynamic_cast<const EmbeddingLoRA*>(&linear->layer()))
      numbers += linear->in() + 2 * compressed;
    else if (!mora)
      numbers += compressed;
  }
  if (recompute) numbers = numbers / std::max<int64_t>(1, c.num_hidden_layers) + c.num_hidden_layers * d;
  return numbers + 3 * d;
}

// Batches of other lengths leave holes of other sizes in the arena (engine/arena.h).
int64_t hole_bytes(const EpochPlan& plan, const TaskData& data) {
  for (int64_t i = 1; i < plan.size(); ++i)
    if (tokens_of(plan.batch(i), data) != tokens_of(plan.batch(0), data)) return int64_t{32} << 20;
  return 0;
}

// Of what is trained, at one time: an update's sum, and with several batches that of one.
int64_t gradient_copies(const Config& config) { return config.train.accumulate > 1 ? 2 : 1; }

// Tensors as large as what is trained that a run keeps: moments, what SAM saves while it is away from w, the smoothed
// importance and its uncertainty (adapter.adapt), the Fisher information and its centre (ewc).
int64_t kept_copies(const Config& config) {
  const OptimizerConfig& o = config.optimizer;
  const bool adam = o.kind == "adamw" || o.kind == "lamb";
  const int64_t moments = adam ? (o.amsgrad ? 3 : 2) : (o.momentum > 0 ? 1 : 0);
  const int64_t sam = !o.sam ? 0 : o.sam->kind == "looksam" ? 3 : 1;  // w; LookSAM also g and g_v
  const int64_t importance = config.adapter.adapt && config.adapter.adapt->importance == "sensitivity" ? 2 : 0;
  const int64_t elastic = config.continual && config.continual->kind == "ewc" ? 2 : 0;
  return moments + sam + importance + elastic;
}

// Forward and backward passes an update takes, on average.
double passes(const OptimizerConfig& o) {
  if (!o.sam) return 1;
  return o.sam->kind == "looksam" ? 1 + 1 / double(o.sam->interval) : 2;
}

MemoryStats memory_stats_of(Device device) { return device == cpu ? memory_stats() : cuda::memory_stats(device.index); }

double run_batch(TrainingSetup& setup, const PackedBatch& batch, const TrainConfig& config) {
  const auto start = std::chrono::steady_clock::now();
  Tensors leaves;
  setup.model->visit_parameters([&](const std::string&, Tensor& value) { leaves.push_back(value); });
  Context context;
  context.training = true;
  context.recompute = config.recompute;
  context.seed = uint64_t(config.seed);
  const Tensor loss = setup.objective.total(*setup.model, batch, context);
  grad(loss, leaves);
  (void)loss.item();  // a device is done
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// The median of as many passes as take a second: one alone may be disturbed.
double time_batch(TrainingSetup& setup, const PackedBatch& batch, const TrainConfig& config) {
  std::vector<double> seconds;
  for (double all = 0; all < 1; all += seconds.back()) seconds.push_back(run_batch(setup, batch, config));
  const auto middle = seconds.begin() + std::ssize(seconds) / 2;
  std::nth_element(seconds.begin(), middle, seconds.end());
  return *middle;
}

}  // namespace

bool give_way(TrainConfig& train, int64_t max_length) {
  const auto halve = [&](std::optional<int64_t>& batch, int64_t least) {
    if (!batch || *batch / 2 < least) return false;
    *batch /= 2;
    train.accumulate *= 2;
    return true;
  };
  if (train.batch_tokens ? halve(train.batch_tokens, max_length) : halve(train.batch_size, 1)) return true;
  if (!std::exchange(train.recompute, true)) return true;
  return std::exchange(train.precision, Precision::bf16) == Precision::f32;
}

MemoryPlan plan_from_shapes(const Config& config, TrainingSetup& setup) {
  const TaskData& rows = setup.tasks[0].train;
  Model& model = setup.model->base();
  const EpochPlan epoch = epoch_plan(config_of_task(config, 0), rows.lengths(), 0);
  const int64_t trained = setup.model->trainable_parameters() * kFloat;
  MemoryPlan plan;
  for (size_t i = 0; i < setup.tasks.size(); ++i)
    plan.steps += total_updates(config_of_task(config, i), setup.tasks[i].train.lengths());
  plan.adapter_bytes = trained;
  plan.optimizer_bytes = (gradient_copies(config) + kept_copies(config)) * trained;
  plan.activation_bytes = tokens_of(longest_batch(epoch, rows), rows) * int64_t(size_of(model.dtype())) *
                          activation_numbers(*setup.model, config.adapter.dropout > 0, config.train.recompute);
  if (parse_device(config.device) != cpu) {
    plan.weights_bytes = resident_weight_bytes(model);
    plan.peak_bytes =
        plan.weights_bytes + plan.adapter_bytes + plan.optimizer_bytes + plan.activation_bytes + kCardWorkspace;
    return plan;
  }
  plan.weights_bytes = embedding_bytes(model) + packed_weight_bytes(model);
  const bool mapped = std::filesystem::is_directory(config.model);  // pages that come in with the first pass
  const int64_t first_touched = packed_weight_bytes(model) + plan.optimizer_bytes + plan.activation_bytes;
  plan.peak_bytes = resident_bytes() + first_touched + (mapped ? embedding_bytes(model) : 0) + hole_bytes(epoch, rows);
  return plan;
}

TrainingSetup set_up_on_device(const Config& config) {
  const Device device = cuda::usable_device(config.device, "device:");
  TrainingSetup setup = set_up(config);
  if (device == cpu) return setup;
  const MemoryPlan plan = plan_from_shapes(config, setup);
  const int64_t free = cuda::describe(device.index).free_bytes;
  const auto gigabytes = [](int64_t bytes) { return double(bytes) / 1e9; };
  require<DeviceError>(
      plan.peak_bytes <= free,
      "device: {}: the run needs {:.2f} GB (weights {:.2f}, what is trained {:.2f}, activations {:.2f}) "
      "and {:.2f} are free; smaller batches, train.recompute: true or train.precision: bf16 need less",
      config.device, gigabytes(plan.peak_bytes), gigabytes(plan.weights_bytes),
      gigabytes(plan.adapter_bytes + plan.optimizer_bytes), gigabytes(plan.activation_bytes), gigabytes(free));
  setup.model->to(device);
  return setup;
}

MemoryPlan plan_memory(const Config& config, bool measure, int64_t limit) {
  TrainingSetup setup = set_up(config);
  MemoryPlan plan = plan_from_shapes(config, setup);
  if (!measure || plan.peak_bytes > limit) return plan;
  const TaskData& rows = setup.tasks[0].train;
  const EpochPlan epoch = epoch_plan(config_of_task(config, 0), rows.lengths(), 0);
  const PackedBatch batch = rows.batch(longest_batch(epoch, rows));
  const int64_t trained = plan.adapter_bytes;
  Model& model = setup.model->base();
  const Device device = cuda::usable_device(config.device, "device:");
  setup.model->to(device);
  model.pack();
  run_batch(setup, batch, config.train);
  if (device == cpu) reset_peak_memory();
  const MemoryStats before = memory_stats_of(device);
  const double seconds = time_batch(setup, batch, config.train);
  plan.activation_bytes = std::max<int64_t>(0, memory_stats_of(device).peak_bytes - before.live_bytes - trained);
  if (config.train.sample) SampleWriter(config, model).write(model);
  const int64_t peak = device == cpu ? peak_resident_bytes() + hole_bytes(epoch, rows)
                                     : memory_stats_of(device).peak_bytes + kCardWorkspace;
  plan.peak_bytes = peak + plan.optimizer_bytes - trained;  // whose gradients were there
  int64_t all_tokens = 0;
  for (int32_t length : rows.lengths()) all_tokens += length;
  const double tokens_per_update = double(all_tokens) / double(updates_per_epoch(config.train, epoch));
  plan.seconds_per_step = passes(config.optimizer) * seconds * tokens_per_update / double(batch.tokens());
  return plan;
}

}  // namespace mora
