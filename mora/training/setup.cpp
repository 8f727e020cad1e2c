#include "mora/training/setup.h"

#include <algorithm>

#include "loaders/dataset.h"
#include "loaders/model_files.h"
#include "mora/adapters/mora.h"
#include "mora/models/registry.h"
#include "mora/training/rank_plan.h"

namespace mora {
namespace {

// Of frozen weights and activations.
DType storage_dtype(Precision precision) {
  return precision == Precision::bf16 ? DType::bf16 : precision == Precision::f16 ? DType::f16 : DType::f32;
}

AdapterSpec spec_of(const AdapterConfig& a) {
  AdapterSpec spec;
  spec.kind = parse_adapter_kind(a.kind == "rslora" ? "lora" : a.kind);
  spec.rank = a.rank;
  spec.op = parse_operator(a.mora_operator);
  spec.alpha = a.alpha;
  spec.rank_stabilized = a.kind == "rslora";
  spec.init = parse_init(a.init);
  spec.dropout = a.dropout;
  return spec;
}

RoutedSpec routed_of(const AdapterConfig& a) {
  RoutedSpec routed;
  if (const auto& experts = a.experts) {
    routed.experts = RoutingSpec{.rule = parse_routing(experts->routing),
                                 .levels = experts->count ? std::vector{*experts->count} : experts->hierarchy,
                                 .top_k = experts->top_k,
                                 .top_p = experts->top_p,
                                 .threshold = experts->threshold,
                                 .capacity = experts->capacity,
                                 .noise = experts->noise,
                                 .balance = experts->balance,
                                 .z_loss = experts->z_loss,
                                 .entropy = experts->entropy};
  }
  if (a.act)
    routed.act = HaltingSpec{.max_steps = a.act->max_steps,
                             .epsilon = a.act->epsilon,
                             .ponder = a.act->ponder,
                             .loss = parse_ponder_loss(a.act->loss)};
  return routed;
}

// A fresh adapter. The classifier, which modules_to_save may name as PEFT's do, is always trained.
void add_adapters(const Config& c, MoRAModel& model) {
  const AdapterConfig& a = c.adapter;
  std::vector<std::string> whole = a.modules_to_save;
  std::erase(whole, "classifier");
  model.train_whole(whole);
  if (a.kind != "none")
    model.add_adapters(spec_of(a), a.targets, uint64_t(c.train.seed), {a.rank_pattern, a.alpha_pattern}, routed_of(a));
}

// Where M ends at the smaller side of its weight, it has fewer parameters than LoRA of its rank.
void note_capped_sides(const MoRAModel& model, std::vector<std::string>& notes) {
  size_t capped = 0;
  std::string example;
  for (const auto& [path, linear] : model.adapted()) {
    const AdapterSpec& spec = linear->layer().spec();
    if (spec.kind != AdapterSpec::Kind::mora) continue;
    const int64_t asked = MoRA::side_of_equal_parameters(spec.rank, linear->in(), linear->out());
    if (asked <= std::min(linear->in(), linear->out()) || capped++ > 0) continue;
    example =
        fmt::format("{}, {} to {}: side {}, where LoRA's parameters of rank {} would make it {}", path, linear->in(),
                    linear->out(), MoRA::side_for(spec, linear->in(), linear->out()), spec.rank, asked);
  }
  if (capped > 0)
    notes.push_back(fmt::format("note: adapter.rank: the M of {} modules ends at the smaller side of the weight, as {}",
                                capped, example));
}

// `balanced`: rows / (classes · rows of the class), as scikit-learn.
std::vector<float> class_weights_of(const std::optional<ClassWeights>& wanted, const TaskData& data) {
  if (!wanted) return {};
  std::vector<float> weights(wanted->weights.begin(), wanted->weights.end());
  if (wanted->balanced) {
    const std::vector<int64_t> rows = data.rows_by_label();
    for (size_t k = 0; k < rows.size(); ++k) {
      require<ConfigError>(rows[k] > 0, "head.class_weights: balanced: label '{}' has no training row",
                           data.labels()[k]);
      weights.push_back(float(double(data.size()) / (double(rows.size()) * double(rows[k]))));
    }
  }
  require<ConfigError>(weights.size() == data.labels().size(),
                       "head.class_weights: {} for the {} labels {}; give each its weight", weights.size(),
                       data.labels().size(), fmt::join(data.labels(), ", "));
  return weights;
}

// The classifier that an adapter brought, or a fresh one; it must have as many outputs as the data has labels.
void set_up_head(const Config& c, MoRAModel& model, const std::vector<std::string>& labels) {
  const int64_t outputs = c.task == Task::regression ? 1 : int64_t(labels.size());
  require<ConfigError>(c.task == Task::regression || outputs >= 2,
                       "data.label: the training data has one label ('{}'); classification needs two",
                       labels.empty() ? "" : labels.front());
  if (!model.classifier()) {
    model.set_head(resolve_pooling(c.head.pooling, model.base(), c.model),
                   Classifier::fresh(outputs, model.base().config().hidden_size, uint64_t(c.train.seed)));
  }
  require<ConfigError>(model.classifier()->weight.dim(0) == outputs,
                       "adapter.init_from: its classifier has {} outputs, the data has {} labels",
                       model.classifier()->weight.dim(0), outputs);
}

// The data of every task. The first one's labels are those of all: one classifier learns them in turn.
std::vector<TrainingData> read_tasks(const Config& c) {
  std::vector<TrainingData> tasks;
  for (size_t i = 0; i < std::max<size_t>(1, c.tasks.size()); ++i) {
    const std::vector<std::string> labels = i == 0 ? std::vector<std::string>{} : tasks[0].train.labels();
    tasks.push_back(read_training_data(config_of_task(c, i), labels));
  }
  return tasks;
}

}  // namespace

Config config_of_task(const Config& config, size_t task) {
  if (config.tasks.empty()) return config;
  Config single = config;
  single.data = config.tasks.at(task).data;
  single.tasks.clear();
  single.continual.reset();
  single.meta.reset();
  return single;
}

TrainingData read_training_data(const Config& c, const std::vector<std::string>& labels) {
  require<ConfigError>(c.data.has_value(), "data: missing; what are the rows to learn from?");
  TaskDataOptions options{
      .task = c.task, .files = c.data->train, .columns = *c.data, .labelled = true, .known_labels = labels};
  if (c.adapter.init_from && labels.empty()) options.known_labels = read_adapter_info(*c.adapter.init_from).labels;
  options.columns.max_length = std::min(options.columns.max_length, longest_sequence(open_model_files(c.model).config));
  TrainingData data{.train = TaskData(options, c.model), .valid = {}};
  if (!c.data->valid.empty()) {
    options.files = c.data->valid;
    options.known_labels = data.train.labels();
    data.valid = TaskData(options, c.model);
  } else if (c.data->valid_fraction) {
    const RowSplit parts = split_rows(data.train.size(), *c.data->valid_fraction, uint64_t(c.train.seed));
    data.valid = data.train.subset(parts.valid);
    data.train = data.train.subset(parts.train);
  }
  return data;
}

TrainingSetup set_up(const Config& c) {
  require<ConfigError>(!c.meta, "meta: this is for mora meta-train");
  TrainingSetup setup;
  setup.model = std::make_unique<MoRAModel>(load_model(c.model, storage_dtype(c.train.precision)));
  MoRAModel& model = *setup.model;

  AdapterInfo& info = setup.info;
  if (c.adapter.init_from) info = load_adapter(*c.adapter.init_from, model);
  setup.tasks = read_tasks(c);
  const TaskData& train = setup.tasks[0].train;
  if (!c.adapter.init_from) {
    add_adapters(c, model);
    note_capped_sides(model, setup.notes);
  }
  check_ranks(c.adapter, model);
  info.base_model = c.model;
  info.task = name_of(c.task);
  info.labels = train.labels();
  if (c.task == Task::causal_lm) {
    require<ConfigError>(model.base().lm_head() != nullptr,
                         "task: causal_lm: {} is a {} model, which has no language-model head", c.model,
                         model.base().config().model_type);
  } else {
    set_up_head(c, model, info.labels);
    info.pooling = name_of(model.pooling());
  }
  require<ConfigError>(model.trainable_parameters() > 0, "adapter.kind: none: nothing is left to train");
  setup.objective = {.task = c.task, .class_weights = class_weights_of(c.head.class_weights, train)};
  setup.total_parameters = parameter_count(*open_model_files(c.model).weights) + model.trainable_parameters();
  return setup;
}

}  // namespace mora
