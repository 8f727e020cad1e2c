#include "mora/learning/meta_train.h"

#include <chrono>
#include <cmath>
#include <csignal>
#include <nlohmann/json.hpp>

#include "kernels/binary.h"
#include "loaders/durable_file.h"
#include "loaders/safetensors.h"
#include "loaders/staged_directory.h"
#include "mora/learning/few_shot.h"
#include "mora/learning/meta_gradient.h"
#include "mora/training/optimization.h"
#include "mora/training/process_memory.h"
#include "mora/training/progress.h"
#include "mora/training/run_directory.h"
#include "mora/training/setup.h"
#include "optim/mora_scheduler.h"

namespace mora {
namespace {

using Json = nlohmann::ordered_json;
using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

void check(const Config& c) {
  require<ConfigError>(c.meta.has_value() && !c.tasks.empty(), "meta: missing; mora meta-train needs meta: and tasks:");
  require<ConfigError>(c.task != Task::causal_lm, "task: causal_lm: mora meta-train learns classification, regression");
  require<ConfigError>(c.train.steps.has_value(), "train.steps: missing; a meta-run has no epochs");
  require<ConfigError>(!c.adapter.experts, "adapter.experts: not supported by mora meta-train");
  require<ConfigError>(!c.adapter.act, "adapter.act: not supported by mora meta-train");
  require<ConfigError>(!c.adapter.adapt, "adapter.adapt: not supported by mora meta-train");
  require<ConfigError>(c.train.precision != Precision::f16, "train.precision: f16: not supported by mora meta-train");
  require<ConfigError>(!c.optimizer.sam, "optimizer.sam: not supported by mora meta-train");
}

// The rows of every task; the first one's are `first`.
std::vector<FewShotTask> read_tasks(const Config& c, const TaskData& first) {
  std::vector<FewShotTask> tasks;
  for (size_t i = 0; i < c.tasks.size(); ++i) {
    TaskData data = i == 0 ? first : read_training_data(config_of_task(c, i)).train;
    require<ConfigError>(data.labels().size() == first.labels().size(), "tasks: '{}' has {} labels, '{}' has {}",
                         c.tasks[i].name, data.labels().size(), c.tasks[0].name, first.labels().size());
    tasks.emplace_back(c.tasks[i].name, std::move(data), c.meta->shots, c.meta->queries);
  }
  return tasks;
}

class MetaTrainer {
 public:
  MetaTrainer(const Config& config, const TrainOptions& options)
      : config_(config),
        options_(options),
        setup_((check(config), set_up(config_of_task(config, 0)))),
        tasks_(read_tasks(config, setup_.tasks[0].train)),
        directory_(config.out, RunDirectory::Start::fresh),
        tensors_(*setup_.model),
        loop_{.kind = parse_meta_kind(config.meta->kind),
              .steps = config.meta->inner_steps,
              .rate = config.meta->inner_lr,
              .is_head = tensors_.is_head()},
        optimizer_(parameters(), optimizer_options(config)),
        scheduler_(config.optimizer.lr, config.schedule.over(*config.train.steps, config.optimizer.lr)),
        progress_(options.quiet) {}

  TrainResult run() {
    directory_.write_config(config_);
    const auto start = Clock::now();
    while (result_.steps < *config_.train.steps && result_.stopped_by == 0) {
      update(start);
      const int signal = options_.signal ? options_.signal->exchange(0) : 0;
      if (signal == SIGINT || signal == SIGTERM) result_.stopped_by = signal;
    }
    save();
    result_.out = config_.out;
    result_.seconds = seconds_since(start);
    result_.train_loss = loss_sum_ / double(std::max<int64_t>(1, result_.steps));
    result_.trainable_parameters = setup_.model->trainable_parameters();
    result_.total_parameters = setup_.total_parameters;
    return result_;
  }

 private:
  // θ, then Meta-SGD's rates.
  std::vector<Parameter> parameters() {
    std::vector<Parameter> list = parameters_of(*setup_.model, config_.optimizer);
    const Tensors theta = tensors_.values();
    if (loop_.kind != MetaKind::metasgd) return list;
    for (size_t i = 0; i < theta.size(); ++i) {
      const std::vector<float> values(size_t(theta[i].numel()), float(loop_.rate));
      rates_.push_back(leaf(Tensor::from(values, theta[i].shape())));
      list.push_back(
          {.name = tensors_.names()[i] + ".rate", .value = rates_[i], .weight_decay = 0.0, .is_weight = false});
    }
    return list;
  }

  // The sum of the episodes' meta-gradients over their number, and the mean query loss.
  double gradients_of(Tensors& gradients) {
    const int64_t count = config_.meta->tasks_per_step;
    const Tensors theta = tensors_.values();
    double loss = 0;
    for (int64_t k = 0; k < count; ++k) {
      const uint64_t number = uint64_t(result_.steps * count + k);
      const RandomKey key{.seed = uint64_t(config_.train.seed), .step = number};
      const RandomStream choice({.seed = key.seed, .epoch = 1, .step = number, .purpose = Purpose::meta});
      const FewShotTask& task = tasks_[size_t(choice.below(0, tasks_.size()))];
      const auto [support, query] = task.episode(key, config_.meta->permute_labels);
      auto loss_of = [this](const PackedBatch& batch) {
        return [this, &batch](std::span<const Tensor> v) { return tensors_.loss(setup_.objective, batch, v); };
      };
      auto on_support = loss_of(support), on_query = loss_of(query);
      const MetaGradient found = meta_gradient(on_support, on_query, theta, rates_, loop_);
      loss += found.query_loss / double(count);
      gradients.resize(found.gradients.size());
      for (size_t i = 0; i < gradients.size(); ++i) add(gradients[i], found.gradients[i], 1 / double(count));
      result_.tokens += support.tokens() + query.tokens();
    }
    return loss;
  }

  static void add(Tensor& sum, const Tensor& term, double factor) {
    if (!term.defined()) return;
    if (!sum.defined()) sum = Tensor::zeros(term.shape(), term.dtype());
    kernels::axpy(term, sum, factor);
  }

  void update(Clock::time_point start) {
    const auto began = Clock::now();
    const int64_t tokens_before = result_.tokens;
    Tensors gradients;
    const double loss = gradients_of(gradients), lr = scheduler_.rate(result_.steps);
    auto no_second_pass = [](Tensors&) { return false; };
    const auto outcome = optimizer_.step(gradients, lr, no_second_pass);
    ++result_.steps;
    skipped_ = outcome.applied ? 0 : skipped_ + 1;
    require<Error>(skipped_ < config_.train.max_skipped, "{}: {} meta-updates in a row were skipped: {} is not finite",
                   config_.out, skipped_, outcome.not_finite);
    if (outcome.applied) loss_sum_ += loss;
    const double speed = double(result_.tokens - tokens_before) / std::max(1e-9, seconds_since(began));
    directory_.log({{"step", result_.steps},
                    {"loss", loss},
                    {"lr", lr},
                    {"grad_norm", outcome.gradient_norm},
                    {"tokens", result_.tokens},
                    {"tokens_per_second", speed},
                    {"seconds", seconds_since(start)}},
                   "train");
    progress_.update({.step = result_.steps,
                      .total = *config_.train.steps,
                      .loss = loss,
                      .lr = lr,
                      .tokens_per_second = speed,
                      .seconds = seconds_since(start),
                      .first_step = 0,
                      .memory_bytes = resident_bytes()});
  }

  void save() {
    replace_adapter(directory_.adapter(), *setup_.model, setup_.info);
    StagedDirectory meta(directory_.path() / "meta");
    const Json json = {{"kind", config_.meta->kind}, {"inner_lr", loop_.rate}, {"inner_steps", loop_.steps}};
    write_durable(meta.path() / "meta.json", json.dump(2) + "\n");
    std::map<std::string, Tensor> rates;
    for (size_t i = 0; i < rates_.size(); ++i) rates[tensors_.names()[i]] = rates_[i];
    if (!rates.empty()) write_safetensors(meta.path() / "rates.safetensors", rates, {{"format", "mora"}});
    meta.commit();
  }

  const Config& config_;
  const TrainOptions& options_;
  TrainingSetup setup_;  // first: what is wrong with the configuration leaves no directory behind
  std::vector<FewShotTask> tasks_;
  RunDirectory directory_;
  TrainedTensors tensors_;
  InnerLoop loop_;
  Tensors rates_;
  MoRAOptimizer optimizer_;
  MoRAScheduler scheduler_;
  Progress progress_;
  TrainResult result_;
  double loss_sum_ = 0;
  int64_t skipped_ = 0;
};

}  // namespace

TrainResult meta_train(const Config& config, const TrainOptions& options) { return MetaTrainer(config, options).run(); }

}  // namespace mora
