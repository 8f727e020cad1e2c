#include "mora/learning/meta_train.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <csignal>
#include <nlohmann/json.hpp>

#include "engine/cuda.h"
#include "kernels/binary.h"
#include "kernels/copy.h"
#include "loaders/checksum.h"
#include "loaders/durable_file.h"
#include "loaders/safetensors.h"
#include "loaders/staged_directory.h"
#include "mora/learning/few_shot.h"
#include "mora/learning/meta_gradient.h"
#include "mora/training/checkpoint.h"
#include "mora/training/optimization.h"
#include "mora/training/progress.h"
#include "mora/training/run_directory.h"
#include "mora/training/setup.h"
#include "optim/mora_scheduler.h"

namespace mora {
namespace {

using Json = nlohmann::ordered_json;
using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

// What is wrong is said before the model and the data are read.
void check(const Config& c, const TrainOptions& options) {
  require<ConfigError>(c.meta.has_value() && !c.tasks.empty(), "meta: missing; mora meta-train needs meta: and tasks:");
  require<ConfigError>(c.task != Task::causal_lm, "task: causal_lm: mora meta-train learns classification, regression");
  require<ConfigError>(c.train.steps.has_value(), "train.steps: missing; a meta-run has no epochs");
  require<ConfigError>(!c.adapter.experts, "adapter.experts: not supported by mora meta-train");
  require<ConfigError>(!c.adapter.act, "adapter.act: not supported by mora meta-train");
  require<ConfigError>(!c.adapter.adapt, "adapter.adapt: not supported by mora meta-train");
  require<ConfigError>(c.train.precision != Precision::f16, "train.precision: f16: not supported by mora meta-train");
  require<ConfigError>(!c.optimizer.sam, "optimizer.sam: not supported by mora meta-train");
  RunDirectory::check(c.out, options.start());
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
        device_((check(config, options), cuda::usable_device(config.device, "device:"))),
        setup_(set_up(config_of_task(config, 0))),
        tasks_(read_tasks(config, setup_.tasks[0].train)),
        directory_(config.out, options.start()),
        loop_{.kind = parse_meta_kind(config.meta->kind),
              .steps = config.meta->inner_steps,
              .rate = config.meta->inner_lr,
              .is_head = {}},
        scheduler_(config.optimizer.lr, config.schedule.over(*config.train.steps, config.optimizer.lr)),
        progress_(options.quiet) {
    setup_.model->to(device_);
    take_tensors();
  }

  TrainResult run() {
    auto load = [this](const std::filesystem::path& directory) { restore(directory); };
    auto note = [this](const std::string& line) { progress_.note(line); };
    if (!options_.resume || !resume_newest(directory_, load, note)) {
      directory_.rewind_metrics(-1);
      directory_.write_config(config_);
      for (const std::string& line : setup_.notes) progress_.note(line);
    }
    first_step_ = at_.step;
    earlier_seconds_ = at_.seconds;
    start_ = Clock::now();
    while (at_.step < *config_.train.steps && stopped_by_ == 0) {
      update();
      const int signal = options_.signal ? options_.signal->exchange(0) : 0;
      if (signal == SIGINT || signal == SIGTERM) stopped_by_ = signal;
      if (signal != 0 || at_.step == *config_.train.steps || is_due()) save_checkpoint();
    }
    save();
    return {.out = config_.out,
            .steps = at_.step,
            .seconds = at_.seconds,
            .tokens = at_.tokens,
            .train_loss = at_.loss_sum / double(std::max<int64_t>(1, at_.applied)),
            .valid = {},
            .continual = {},
            .trainable_parameters = setup_.model->trainable_parameters(),
            .total_parameters = setup_.total_parameters,
            .stopped_by = stopped_by_};
  }

 private:
  // The model's tensors, which a resume puts others in the place of, and what holds on to them.
  void take_tensors() {
    tensors_.emplace(*setup_.model);
    loop_.is_head = tensors_->is_head();
    rates_.clear();
    optimizer_.emplace(parameters(), optimizer_options(config_));
  }

  // θ, then Meta-SGD's rates.
  std::vector<Parameter> parameters() {
    std::vector<Parameter> list = parameters_of(*setup_.model, config_.optimizer);
    const Tensors theta = tensors_->values();
    if (loop_.kind != MetaKind::metasgd) return list;
    for (size_t i = 0; i < theta.size(); ++i) {
      const std::vector<float> values(size_t(theta[i].numel()), float(loop_.rate));
      rates_.push_back(leaf(Tensor::from(values, theta[i].shape()).to(theta[i].device())));
      list.push_back(
          {.name = tensors_->names()[i] + ".rate", .value = rates_[i], .weight_decay = 0.0, .is_weight = false});
    }
    return list;
  }

  // The sum of the episodes' meta-gradients over their number, and the mean query loss.
  double gradients_of(Tensors& gradients) {
    const int64_t count = config_.meta->tasks_per_step;
    const Tensors theta = tensors_->values();
    double loss = 0;
    for (int64_t k = 0; k < count; ++k) {
      const uint64_t number = uint64_t(at_.step * count + k);
      const RandomKey key{.seed = uint64_t(config_.train.seed), .step = number};
      const RandomStream choice({.seed = key.seed, .epoch = 1, .step = number, .purpose = Purpose::meta});
      const FewShotTask& task = tasks_[size_t(choice.below(0, tasks_.size()))];
      const auto [support, query] = task.episode(key, config_.meta->permute_labels);
      auto loss_of = [this](const PackedBatch& batch) {
        return [this, &batch](std::span<const Tensor> v) { return tensors_->loss(setup_.objective, batch, v); };
      };
      auto on_support = loss_of(support), on_query = loss_of(query);
      const MetaGradient found = meta_gradient(on_support, on_query, theta, rates_, loop_);
      loss += found.query_loss / double(count);
      gradients.resize(found.gradients.size());
      for (size_t i = 0; i < gradients.size(); ++i) add(gradients[i], found.gradients[i], 1 / double(count));
      at_.tokens += support.tokens() + query.tokens();
    }
    return loss;
  }

  static void add(Tensor& sum, const Tensor& term, double factor) {
    if (!term.defined()) return;
    if (!sum.defined()) sum = Tensor::zeros(term.shape(), term.dtype(), term.device());
    kernels::axpy(term, sum, factor);
  }

  void update() {
    const auto began = Clock::now();
    const int64_t tokens_before = at_.tokens;
    Tensors gradients;
    const double loss = gradients_of(gradients), lr = scheduler_.rate(at_.step);
    auto no_second_pass = [](Tensors&) { return false; };
    const auto outcome = optimizer_->step(gradients, lr, no_second_pass);
    ++at_.step;
    at_.seconds = earlier_seconds_ + seconds_since(start_);
    at_.skipped = outcome.applied ? 0 : at_.skipped + 1;
    require<Error>(at_.skipped < config_.train.max_skipped,
                   "{}: {} meta-updates in a row were skipped: {} is not finite", config_.out, at_.skipped,
                   outcome.not_finite);
    if (outcome.applied) {
      ++at_.applied;
      at_.loss_sum += loss;
    }
    const double speed = double(at_.tokens - tokens_before) / std::max(1e-9, seconds_since(began));
    directory_.log({{"step", at_.step},
                    {"loss", loss},
                    {"lr", lr},
                    {"grad_norm", outcome.gradient_norm},
                    {"tokens", at_.tokens},
                    {"tokens_per_second", speed},
                    {"seconds", at_.seconds}},
                   "train");
    progress_.update({.step = at_.step,
                      .total = *config_.train.steps,
                      .loss = loss,
                      .lr = lr,
                      .tokens_per_second = speed,
                      .seconds = seconds_since(start_),
                      .first_step = first_step_});
  }

  bool is_due() const {  // a meta-run has no epochs
    const auto& every = config_.train.save_every;
    return every && every->steps > 0 && at_.step % every->steps == 0;
  }

  std::string rows_checksum() const {
    Checksum sum;
    for (const FewShotTask& task : tasks_) task.data().add_to(sum);
    return checksum_text(sum.value());
  }

  void save_checkpoint() {
    directory_.sync();
    std::vector<NamedTensor> rates;
    for (size_t i = 0; i < rates_.size(); ++i) rates.push_back({tensors_->names()[i], rates_[i]});
    mora::save_checkpoint(directory_.checkpoint(at_.step),
                          {.progression = at_,
                           .optimizer = optimizer_->state(),
                           .ranks = {},
                           .learning = rates,
                           .config = to_yaml(config_),
                           .data = rows_checksum()},
                          *setup_.model, setup_.info);
    directory_.remove_old_checkpoints(config_.train.keep);
  }

  void restore(const std::filesystem::path& directory) {
    const Checkpoint checkpoint = load_checkpoint(directory);
    check_same_run(checkpoint, config_, rows_checksum());
    setup_.model->remove_adapters();
    load_adapter(directory, *setup_.model);
    take_tensors();
    require<IoError>(checkpoint.learning.size() == rates_.size(), "{}: {} rates for {} tensors", directory.string(),
                     checkpoint.learning.size(), rates_.size());
    for (const NamedTensor& rate : checkpoint.learning) {
      const auto& names = tensors_->names();
      const auto at = size_t(std::find(names.begin(), names.end(), rate.name) - names.begin());
      require<IoError>(at < rates_.size() && rate.tensor.shape() == rates_[at].shape(),
                       "{}: a rate of {} {}, which is not trained", directory.string(), rate.name, rate.tensor.shape());
      kernels::copy(rate.tensor.to(rates_[at].device()), rates_[at]);
    }
    optimizer_->load_state(checkpoint.optimizer);
    at_ = checkpoint.progression;
    directory_.rewind_metrics(at_.step);
  }

  void save() {
    replace_adapter(directory_.adapter(), *setup_.model, setup_.info);
    StagedDirectory meta(directory_.path() / "meta");
    const Json json = {{"kind", config_.meta->kind}, {"inner_lr", loop_.rate}, {"inner_steps", loop_.steps}};
    write_durable(meta.path() / "meta.json", json.dump(2) + "\n");
    std::map<std::string, Tensor> rates;
    for (size_t i = 0; i < rates_.size(); ++i) rates[tensors_->names()[i]] = rates_[i];
    if (!rates.empty()) write_safetensors(meta.path() / "rates.safetensors", rates, {{"format", "mora"}});
    meta.commit();
  }

  const Config& config_;
  const TrainOptions& options_;
  Device device_;
  TrainingSetup setup_;  // these first: what is wrong with the configuration leaves no directory behind
  std::vector<FewShotTask> tasks_;
  RunDirectory directory_;
  std::optional<TrainedTensors> tensors_;
  InnerLoop loop_;
  Tensors rates_;
  std::optional<MoRAOptimizer> optimizer_;
  MoRAScheduler scheduler_;
  Progress progress_;
  Progression at_;
  int stopped_by_ = 0;
  int64_t first_step_ = 0;
  double earlier_seconds_ = 0;
  Clock::time_point start_;
};

}  // namespace

TrainResult meta_train(const Config& config, const TrainOptions& options) { return MetaTrainer(config, options).run(); }

}  // namespace mora
