#include <chrono>
#include <nlohmann/json.hpp>

#include "kernels/copy.h"
#include "loaders/json.h"
#include "loaders/json_fields.h"
#include "loaders/safetensors.h"
#include "mora/adapter_directory.h"
#include "mora/learning/few_shot.h"
#include "mora/learning/meta_gradient.h"
#include "mora/learning/meta_train.h"
#include "mora/models/registry.h"

namespace mora {
namespace {

// The inner loop of a meta-trained directory, and its rates.
InnerLoop read_inner_loop(const std::filesystem::path& directory, const TrainedTensors& tensors, Tensors& rates) {
  const auto file = directory / "meta.json";
  require<IoError>(std::filesystem::exists(file), "{}: no meta-training here; --meta takes a run of mora meta-train",
                   directory.parent_path().string());
  const nlohmann::json document = read_json(file);
  const JsonFields fields(document, file.string());
  InnerLoop loop{.kind = parse_meta_kind(fields.string("kind")),
                 .steps = fields.integer("inner_steps", 1, 1'000'000),
                 .rate = fields.number("inner_lr", 0, 1e6),
                 .is_head = tensors.is_head()};
  if (loop.kind != MetaKind::metasgd) return loop;
  const SafetensorsFile saved = SafetensorsFile::open(directory / "rates.safetensors");
  const Tensors values = tensors.values();
  for (size_t i = 0; i < values.size(); ++i) {
    rates.push_back(saved.tensor(tensors.names()[i]).to(values[i].device()));
    require<IoError>(rates[i].meta() == values[i].meta(), "{}: '{}' is {}, the adapter's is {}", saved.path().string(),
                     tensors.names()[i], rates[i].shape(), values[i].shape());
  }
  return loop;
}

}  // namespace

TrainResult adapt(const AdaptOptions& options) {
  const auto start = std::chrono::steady_clock::now();
  const std::filesystem::path meta = options.meta;
  const AdapterInfo known = read_adapter_info(meta / "adapter");
  MoRAModel model(load_model(known.base_model));
  model.to(options.device);
  AdapterInfo info = load_adapter(meta / "adapter", model);
  const TrainedTensors tensors(model);
  Tensors rates;
  InnerLoop loop = read_inner_loop(meta / "meta", tensors, rates);
  require<ConfigError>(!options.rate || rates.empty(), "--lr: this start was meta-trained with rates of its own");
  loop.steps = options.steps.value_or(loop.steps);
  loop.rate = options.rate.value_or(loop.rate);

  const Task task = parse_task(info.task);
  TaskDataOptions rows{
      .task = task, .files = options.data.train, .columns = options.data, .labelled = true, .known_labels = {}};
  rows.columns.max_length = std::min(options.data.max_length, model.base().longest_sequence());
  const TaskData data(rows, known.base_model);
  require<ConfigError>(data.labels().size() == info.labels.size(), "{}: {} labels, the start was meta-trained for {}",
                       options.data.train.front(), data.labels().size(), info.labels.size());
  std::vector<int64_t> all(size_t(data.size()));
  for (size_t i = 0; i < all.size(); ++i) all[i] = int64_t(i);
  const PackedBatch batch = data.batch(all);
  const Objective objective{.task = task, .class_weights = {}};
  auto loss = [&](std::span<const Tensor> values) { return tensors.loss(objective, batch, values); };
  const Tensors phi = adapt_to(loss, tensors.values(), rates, loop, false);
  TrainResult result;
  result.out = options.out;
  result.steps = loop.steps;
  result.epochs = double(loop.steps);
  result.tokens = batch.tokens() * loop.steps;
  result.train_loss = loss(phi).item();
  Tensors own = tensors.values();
  for (size_t i = 0; i < own.size(); ++i) kernels::copy(phi[i], own[i]);
  info.labels = data.labels();
  std::filesystem::create_directories(options.out);
  replace_adapter(std::filesystem::path(options.out) / "adapter", model, info);
  result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  result.trainable_parameters = model.trainable_parameters();
  return result;
}

}  // namespace mora
