#include "mora/training/trainer.h"

#include <chrono>
#include <cmath>
#include <csignal>
#include <nlohmann/json.hpp>

#include "loaders/checksum.h"
#include "loaders/quote.h"
#include "mora/training/checkpoint.h"
#include "mora/training/memory_plan.h"
#include "mora/training/optimization.h"
#include "mora/training/progress.h"
#include "mora/training/rank_plan.h"
#include "mora/training/routing_metrics.h"
#include "mora/training/sample_writer.h"
#include "mora/training/setup.h"
#include "mora/training/update_gradients.h"
#include "mora/training/update_plan.h"
#include "optim/mora_scheduler.h"

namespace mora {
namespace {

using Json = nlohmann::ordered_json;
using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

// One run from its first update, or from a checkpoint, to its end.
class Trainer {
 public:
  Trainer(const Config& config, const TrainOptions& options)
      : config_(config),
        options_(options),
        setup_(set_up_on_device(config)),
        continual_(config, setup_),
        samples_(config.train.sample ? std::optional<SampleWriter>(std::in_place, config, setup_.model->base())
                                     : std::nullopt),
        task_(config_of_task(config, 0)),
        directory_(config.out, options.start()),
        optimizer_(parameters_of(*setup_.model, config.optimizer), optimizer_options(config)),
        gradients_(config, setup_, continual_, optimizer_, options.graphs,
                   [this](const std::string& line) { progress_.note(line); }),
        plan_(plan_of(0)),
        total_(total_updates(task_, data().train.lengths())),
        scheduler_(config.optimizer.lr, config.schedule.over(total_, config.optimizer.lr),
                   rewarm_updates(config.adapter)),
        ranks_(std::in_place, config, total_, *setup_.model, optimizer_),
        progress_(options.quiet) {}

  TrainResult run() {
    auto load = [this](const std::filesystem::path& directory) { restore(directory); };
    auto note = [this](const std::string& line) { progress_.note(line); };
    if (!options_.resume || !resume_newest(directory_, load, note)) begin();
    first_step_ = at_.step;
    earlier_seconds_ = at_.seconds;
    setup_.model->base().pack();
    gradients_.renew();
    for (const TrainingData& task : setup_.tasks)
      for (const std::string& line : task.train.warnings()) progress_.note("warning: " + line);
    start_ = Clock::now();
    while (at_.step < task_end() && !all_measured() && !stopped_early() && !ended_) {
      update();
      after_update();
    }
    return finish();
  }

 private:
  // --- the plan -----------------------------------------------------------------------------------------------------

  const TrainingData& data() const { return setup_.tasks[size_t(at_.task)]; }
  int64_t task_end() const { return at_.task_start + total_; }  // in updates of the run
  bool is_last_task() const { return at_.task + 1 == std::ssize(setup_.tasks); }
  bool stopped_early() const {
    return config_.train.early_stop && at_.evaluations_since_best >= config_.train.early_stop->patience;
  }
  bool all_measured() const { return config_.continual && std::ssize(at_.accuracies) == std::ssize(setup_.tasks); }

  // What depends on the task whose updates come, and on the tensors that it trains.
  void enter_task() {
    task_ = config_of_task(config_, size_t(at_.task));
    optimizer_ = MoRAOptimizer(parameters_of(*setup_.model, config_.optimizer), optimizer_options(config_));
    plan_ = plan_of(uint64_t(at_.epoch));
    total_ = total_updates(task_, data().train.lengths());
    scheduler_ = MoRAScheduler(config_.optimizer.lr, config_.schedule.over(total_, config_.optimizer.lr),
                               rewarm_updates(config_.adapter));
    ranks_.emplace(config_, total_, *setup_.model, optimizer_);
    continual_.enter_task(at_.task, optimizer_.parameters());
    gradients_.renew();
  }

  EpochPlan plan_of(uint64_t epoch) const { return epoch_plan(task_, data().train.lengths(), epoch); }
  bool is_due(const std::optional<Interval>& interval) const {
    if (!interval) return false;
    const int64_t every =
        interval->steps > 0
            ? interval->steps
            : std::max<int64_t>(
                  1, int64_t(std::llround(interval->epochs * double(updates_per_epoch(config_.train, plan_)))));
    return at_.step % every == 0;
  }

  // The batches of the next update, fewer than `accumulate` at an epoch's end.
  std::vector<PackedBatch> next_batches() {
    if (at_.batch == plan_.size()) {
      at_.batch = 0;
      plan_ = plan_of(uint64_t(++at_.epoch));
    }
    std::vector<PackedBatch> batches;
    for (int64_t i = 0; i < config_.train.accumulate && at_.batch < plan_.size(); ++i) {
      batches.push_back(data().train.batch(plan_.batch(at_.batch++)));
    }
    int64_t rows = 0;
    for (const PackedBatch& batch : batches) rows += batch.sequences();
    if (auto rehearsed = continual_.rehearsal(rows, at_.step)) batches.push_back(std::move(*rehearsed));
    return batches;
  }

  // --- one update ---------------------------------------------------------------------------------------------------

  static double total_of(const Tensors& losses) {  // waits for a device
    double total = 0;
    for (const Tensor& loss : losses) total += loss.item();
    return total;
  }

  // An update that was begun, and its line in metrics.jsonl but for what comes of it.
  struct Begun {
    Json line;
    int64_t tokens = 0;
    Tensors losses;
    MoRAOptimizer::Begun update = {};
    std::optional<MoRAOptimizer::Outcome> outcome = {};  // SAM's, which reads its losses
  };

  // Forward, backward and update. SAM's waits for the device, and so does what notes the choices of routed layers.
  void begin_update(const std::vector<PackedBatch>& batches, double lr, Begun& begun, Tensors& gradients,
                    RoutedLayers* routed) {
    if (config_.optimizer.sam) {
      const int64_t first = at_.micro_batch;
      begun.losses = gradients_.of(batches, at_, first, gradients, routed);
      auto again = [&](Tensors& at) { return std::isfinite(total_of(gradients_.of(batches, at_, first, at))); };
      begun.outcome.emplace();
      if (std::isfinite(total_of(begun.losses))) begun.outcome = optimizer_.step(gradients, lr, again);
    } else {
      begun.update = gradients_.begin_update(batches, at_, lr, gradients, begun.losses, routed);
    }
    continual_.after_update();
  }

  void update() {
    if (begun_.empty()) began_ = Clock::now();
    const std::vector<PackedBatch> batches = next_batches();
    const double lr = scheduler_.rate(at_.applied, at_.last_rank_event);
    Begun begun;
    Tensors gradients;
    RoutedLayers routed;
    const bool reads = reads_each_update() || (at_.step + 1) % config_.train.log_every == 0;
    begin_update(batches, lr, begun, gradients, reads ? &routed : nullptr);
    ++at_.step;
    ++at_.applied;
    at_.micro_batch += int64_t(batches.size());
    for (const PackedBatch& batch : batches) begun.tokens += batch.tokens();
    at_.tokens += begun.tokens;
    at_.seconds = earlier_seconds_ + seconds_since(start_);
    begun.line = {
        {"step", at_.step},     {"epoch", epochs()},        {"loss", 0.0},           {"lr", lr}, {"grad_norm", 0.0},
        {"tokens", at_.tokens}, {"tokens_per_second", 0.0}, {"seconds", at_.seconds}};
    if (gradients_.scaled()) begun.line["loss_scale"] = at_.scaler.scale;
    if (ranks_->moves_ranks()) begun.line["mean_rank"] = ranks_->start().mean;
    begun.line.update(routing_metrics(routed));
    begun_.push_back(std::move(begun));
    if (!reads || !read_updates(gradients)) return;
    routed_ = std::move(routed);
    if (const auto event = ranks_->after_update(at_.step, gradients, routed_)) {
      at_.last_rank_event = at_.applied;
      gradients_.renew();
      log(*event);
    }
  }

  // Whether what comes next depends on what came of the update before it, or knowing that costs nothing.
  bool reads_each_update() const {
    return setup_.model->base().device() == cpu || gradients_.scaled() || config_.optimizer.sam || ranks_->has_events();
  }

  // Waits for the updates that were begun, and logs them. `gradients`: of the last, where they are still there. Whether
  // that one was made.
  bool read_updates(std::span<Tensor> gradients = {}) {
    std::vector<Begun> all = std::exchange(begun_, {});
    int64_t tokens = 0;
    for (const Begun& begun : all) tokens += begun.tokens;
    bool applied = false;
    for (Begun& begun : all) {
      const double loss = total_of(begun.losses);
      const bool last = &begun == &all.back();
      if (!begun.outcome) begun.outcome = optimizer_.outcome(begun.update, last ? gradients : std::span<Tensor>());
      if (!std::isfinite(loss)) begun.outcome->not_finite = "the loss";
      const double speed = double(tokens) / std::max(1e-9, seconds_since(began_));
      applied = read(begun.line, loss, speed, *begun.outcome);
    }
    return applied;
  }

  bool read(Json& line, double loss, double speed, const MoRAOptimizer::Outcome& outcome) {
    const int64_t step = line["step"];
    if (gradients_.scaled()) at_.scaler.after_update(outcome.applied);
    if (!outcome.applied) {
      --at_.applied;
      skip(step, outcome.not_finite);
      return false;
    }
    at_.skipped = 0;
    at_.loss_sum += loss;
    line["loss"] = loss;
    line["grad_norm"] = outcome.gradient_norm;
    line["tokens_per_second"] = speed;
    directory_.log(line, "train");
    watch(step, loss);
    progress_.update({.step = step,
                      .total = task_end(),
                      .loss = loss,
                      .lr = line["lr"],
                      .tokens_per_second = speed,
                      .seconds = seconds_since(start_),
                      .first_step = first_step_});
    return true;
  }

  void log(const RankEvent& event) {
    const char* counted = event.kind == "experts" ? "experts" : "ranks";
    directory_.log({{"step", at_.step},
                    {"event",
                     {{"kind", event.kind},
                      {event.kind == "experts" ? "mean_experts" : "mean_rank", event.mean},
                      {counted, event.ranks}}}},
                   "ranks");
  }

  void skip(int64_t step, const std::string& what) {
    directory_.log({{"step", step}, {"event", {{"kind", "skipped_update"}, {"reason", what + " is not finite"}}}},
                   "train");
    progress_.note(fmt::format("update {} skipped: {} is not finite", step, what));
    ++at_.skipped;
    require<Error>(
        at_.skipped < config_.train.max_skipped,
        "{}: {} updates in a row were skipped: {} is not finite; lower optimizer.lr (the last checkpoint is intact)",
        config_.out, at_.skipped, what);
  }

  // Counts spikes, and ends a run whose loss has exploded. No checkpoint is written on the way there (after_update), so
  // that the last one is from before.
  void watch(int64_t step, double loss) {
    if (const auto median = observe(at_.losses, loss))
      directory_.log(
          {{"step", step}, {"event", {{"kind", "loss_spike"}, {"median", *median}, {"spikes", at_.losses.spikes}}}},
          "train");
    require<Error>(at_.losses.far_above_start < config_.train.max_skipped,
                   "{}: the loss exploded: {:.4g} after update {}, for {} updates over ten times the {:.4g} it began "
                   "with; lower optimizer.lr (the last checkpoint is from before)",
                   config_.out, loss, step, at_.losses.far_above_start, at_.losses.start);
  }

  double epochs() const { return double(at_.epoch) + double(at_.batch) / double(plan_.size()); }

  // --- between updates ----------------------------------------------------------------------------------------------

  void after_update() {
    const bool last = at_.step == task_end();
    const bool saves = is_due(config_.train.save_every);
    if (last || saves || is_due(config_.train.eval_every) || (samples_ && is_due(config_.train.sample->every)))
      read_updates();
    if (data().valid.size() > 0 && (last || is_due(config_.train.eval_every))) validate();
    if (samples_ && (last || is_due(config_.train.sample->every))) write_samples();
    const int signal = options_.signal ? options_.signal->exchange(0) : 0;
    if (signal != 0) read_updates();
    if (signal == SIGINT || signal == SIGTERM) stopped_by_ = signal;
    ended_ = ended_ || stopped_by_ != 0;
    const bool over = last || stopped_early();
    if (over) finish_task();
    if (over || ended_ || signal == SIGUSR1 || (saves && at_.losses.far_above_start == 0)) save();
  }

  // A continual run measures every task, learns what protects this one, and begins the next; any other ends.
  void finish_task() {
    if (config_.continual) measure_tasks();
    if (is_last_task()) {
      ended_ = true;
      return;
    }
    continual_.end_task(at_.task, optimizer_.parameters());
    at_.task_start = at_.step;
    at_.epoch = at_.batch = at_.applied = at_.evaluations_since_best = 0;
    at_.best.reset();
    at_.last_rank_event.reset();
    at_.losses = {.recent = {}, .spikes = at_.losses.spikes};
    continual_.begin_task(++at_.task);
    enter_task();
  }

  void measure_tasks() {
    std::vector<double>& row = at_.accuracies.emplace_back();
    Json by_task;
    for (size_t i = 0; i < setup_.tasks.size(); ++i) {
      row.push_back(evaluate(*setup_.model, setup_.tasks[i].valid, config_.task).metrics.at("accuracy"));
      by_task[config_.tasks[i].name] = row.back();
    }
    const std::string& name = config_.tasks[size_t(at_.task)].name;
    directory_.log({{"step", at_.step}, {"event", {{"kind", "task_end"}, {"task", name}, {"accuracy", by_task}}}},
                   "continual");
    progress_.note(fmt::format("task {} of {} learned: {}", at_.task + 1, setup_.tasks.size(), name));
    if (is_last_task()) directory_.log({{"step", at_.step}, {"continual", to_json(matrix())}}, "continual");
  }

  AccuracyMatrix matrix() const {
    AccuracyMatrix matrix{.tasks = {}, .rows = at_.accuracies};
    for (const TaskConfig& task : config_.tasks) matrix.tasks.push_back(task.name);
    return matrix;
  }

  void validate() {
    valid_ = evaluate(*setup_.model, data().valid, config_.task);
    directory_.log({{"step", at_.step}, {"valid", to_json(*valid_)}}, "valid");
    if (!routed_.empty())
      directory_.log(
          {{"step", at_.step}, {"event", {{"kind", "routing"}, {"layers", routing_by_layer(*setup_.model, routed_)}}}},
          "routing");
    std::string line = fmt::format("step {}: validation loss {:.4f}", at_.step, valid_->loss);
    for (const auto& [name, value] : valid_->metrics.values) line += fmt::format("  {} {:.4f}", name, value);
    progress_.note(line);
    if (!valid_->predictions.empty())
      write_predictions(directory_.path() / "valid.jsonl", *valid_, data().valid, config_.task);

    const std::string metric = config_.train.early_stop ? config_.train.early_stop->metric : "loss";
    const double value = metric == "loss" ? valid_->loss : valid_->metrics.at(metric);
    const bool better =
        !at_.best || (metric != "loss" && larger_is_better(metric) ? value > *at_.best : value < *at_.best);
    if (std::isfinite(value) && better) {
      at_.best = value;
      at_.evaluations_since_best = 0;
      replace_adapter(directory_.best(), *setup_.model, setup_.info);
    } else if (++at_.evaluations_since_best; stopped_early()) {
      progress_.note(
          fmt::format("stopped early: {} has not improved in {} evaluations", metric, at_.evaluations_since_best));
    }
  }

  void write_samples() {
    const std::vector<std::string> texts = samples_->write(setup_.model->base());
    for (size_t i = 0; i < texts.size(); ++i) {
      const std::string& prompt = config_.train.sample->prompts[i];
      directory_.log({{"step", at_.step}, {"event", {{"kind", "sample"}, {"prompt", prompt}, {"text", texts[i]}}}},
                     "sample");
      progress_.note(fmt::format("step {}: {} → {}", at_.step, quote(prompt), quote(texts[i])));
    }
  }

  std::string rows_checksum() const {
    Checksum sum;
    for (const TrainingData& task : setup_.tasks) task.train.add_to(sum);
    return checksum_text(sum.value());
  }

  void save() {
    directory_.sync();
    save_checkpoint(directory_.checkpoint(at_.step),
                    {at_, optimizer_.state(), ranks_->state(), continual_.state(optimizer_.parameters()),
                     to_yaml(config_), rows_checksum()},
                    *setup_.model, setup_.info);
    directory_.remove_old_checkpoints(config_.train.keep);
  }

  // --- the ends -----------------------------------------------------------------------------------------------------

  void begin() {
    directory_.rewind_metrics(-1);
    directory_.write_config(config_);
    for (const std::string& line : setup_.notes) progress_.note(line);
    if (ranks_->moves_ranks()) log(ranks_->start());
  }

  void restore(const std::filesystem::path& directory) {
    const Checkpoint checkpoint = load_checkpoint(directory);
    check_same_run(checkpoint, config_, rows_checksum());
    MoRAModel& model = *setup_.model;
    model.remove_adapters();
    load_adapter(directory, model);
    at_ = checkpoint.progression;
    require<IoError>(at_.task < std::ssize(setup_.tasks), "{}: task {} of {}", directory.string(), at_.task,
                     setup_.tasks.size());
    enter_task();
    optimizer_.load_state(checkpoint.optimizer);
    ranks_->load_state(checkpoint.ranks);
    continual_.load_state(optimizer_.parameters(), checkpoint.learning);
    directory_.rewind_metrics(at_.step);
  }

  TrainResult finish() {
    replace_adapter(directory_.adapter(), *setup_.model, setup_.info);
    TrainResult result;
    result.out = config_.out;
    result.steps = at_.step;
    result.epochs = epochs();
    result.seconds = at_.seconds;
    result.tokens = at_.tokens;
    result.replayed = gradients_.replayed();
    result.train_loss = at_.step > 0 ? at_.loss_sum / double(at_.step) : 0;
    if (!valid_ && data().valid.size() > 0 && !stopped_by_)
      valid_ = evaluate(*setup_.model, data().valid, config_.task);
    result.valid = std::move(valid_);
    if (all_measured()) result.continual = matrix();
    result.trainable_parameters = setup_.model->trainable_parameters();
    result.total_parameters = setup_.total_parameters;
    result.stopped_by = stopped_by_;
    return result;
  }

  const Config& config_;
  const TrainOptions& options_;
  TrainingSetup setup_;  // these three first: what is wrong with the configuration leaves no directory behind
  ContinualPlan continual_;
  std::optional<SampleWriter> samples_;
  Progression at_;
  Config task_;  // the configuration of task at_.task on its own
  RunDirectory directory_;
  MoRAOptimizer optimizer_;
  UpdateGradients gradients_;
  EpochPlan plan_;
  int64_t total_;
  MoRAScheduler scheduler_;
  std::optional<RankPlan> ranks_;
  Progress progress_;

  std::vector<Begun> begun_;  // updates whose outcome has not been read
  Clock::time_point began_;   // the first of them
  std::optional<Evaluation> valid_;
  RoutedLayers routed_;  // what routed layers did in the last update
  bool ended_ = false;
  int stopped_by_ = 0;
  int64_t first_step_ = 0;
  double earlier_seconds_ = 0;
  Clock::time_point start_;
};

}  // namespace

TrainResult train(const Config& config, const TrainOptions& options) {
  RunDirectory::check(config.out, options.start());
  return Trainer(config, options).run();
}

}  // namespace mora
