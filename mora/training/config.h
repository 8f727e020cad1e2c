// The configuration of a run: plain values, filled from a strict YAML file and from `key.sub=value` words of the
// command line. Keys, types, ranges and their one-line documentation stand in one table (config_table.cpp), from which
// come the parser, the advice in its errors, the resolved config.yaml and docs/config.md. A default is the initialiser
// here and nowhere else.
//
// A choice that a folder below this one turns into a type (adapter kinds, operators, optimizers, …) is kept as its
// name; the table has already checked it.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "optim/schedule.h"

namespace mora {

enum class Task { classification, regression, causal_lm };
enum class Precision { f32, bf16, f16 };

std::string_view name_of(Task task);
Task parse_task(std::string_view name);  // throws ConfigError for a name that is none
std::string_view name_of(Precision precision);

// `warmup: 100` or `warmup: 0.06`: updates, or (below 1) a share of all updates.
struct StepsOrShare {
  double value = 0;
  int64_t of(int64_t total) const;  // in updates, rounded up
  bool operator==(const StepsOrShare&) const = default;
};

// `eval_every: 200` or `eval_every: 0.25epoch`; one of the two is 0.
struct Interval {
  int64_t steps = 0;
  double epochs = 0;
  bool operator==(const Interval&) const = default;
};

// `class_weights: balanced` (rows / (classes · rows of the class)) or one number a label, in the labels' order.
struct ClassWeights {
  bool balanced = false;
  std::vector<double> weights;
  bool operator==(const ClassWeights&) const = default;
};

struct HeadConfig {
  std::string pooling = "auto";
  std::optional<ClassWeights> class_weights;
  bool operator==(const HeadConfig&) const = default;
};

struct DataConfig {
  std::vector<std::string> train, valid;  // files or globs
  std::optional<double> valid_fraction;
  std::optional<std::string> text = "text", label = "label";
  std::optional<std::string> prompt, completion, messages;
  int64_t max_length = 256;
  bool packing = true;
  bool append_eos = true;
  bool shuffle = true;
  bool operator==(const DataConfig&) const = default;
};

struct TaskConfig {
  std::string name;
  DataConfig data;
  bool operator==(const TaskConfig&) const = default;
};

struct ExpertsConfig {
  std::optional<int64_t> count = 8;
  std::vector<int64_t> hierarchy;  // children a node, level by level; empty: flat
  int64_t top_k = 2;
  std::string routing = "top_k";
  double top_p = 0.4;
  std::optional<double> threshold;
  double balance = 0.01, z_loss = 0.001, entropy = 0.0001, capacity = 1.25, noise = 0.01;
  int64_t interval = 100, max_count = 16;
  bool operator==(const ExpertsConfig&) const = default;
};

struct ActConfig {
  int64_t max_steps = 4;
  double epsilon = 0.01, ponder = 0.01;
  std::string loss = "graves";
  bool operator==(const ActConfig&) const = default;
};

struct AdaptConfig {
  double budget = 0;  // mean rank at the end
  StepsOrShare start{0.1}, end{0.7};
  int64_t interval = 10;
  int64_t min_rank = 1;
  std::optional<int64_t> max_rank;
  std::string importance = "sensitivity";
  int64_t rewarm = 0;
  bool scale_lr = false;
  bool operator==(const AdaptConfig&) const = default;
};

struct RestartConfig {
  int64_t interval = 0;
  std::vector<std::string> operators;
  int64_t rewarm = 50;
  bool operator==(const RestartConfig&) const = default;
};

struct AdapterConfig {
  std::string kind = "mora";
  int64_t rank = 8;
  std::string mora_operator = "rotation";
  std::string init = "default";
  double alpha = 16;
  std::map<std::string, int64_t> rank_pattern;
  std::map<std::string, double> alpha_pattern;
  std::vector<std::string> modules_to_save;
  double dropout = 0;
  std::variant<std::string, std::vector<std::string>> targets = "all-linear";  // a word or regular expression, or names
  std::optional<std::string> init_from;
  std::optional<ExpertsConfig> experts;
  std::optional<ActConfig> act;
  std::optional<AdaptConfig> adapt;
  std::optional<RestartConfig> restart;
  bool operator==(const AdapterConfig&) const = default;
};

struct SamConfig {
  std::string kind = "sam";
  double rho = 0.05;
  double eta = 0.01;
  int64_t interval = 5;
  double alpha = 0.7;
  bool operator==(const SamConfig&) const = default;
};

struct OptimizerConfig {
  std::string kind = "adamw";
  double lr = 1e-3;
  std::optional<double> head_lr;
  std::array<double, 2> betas = {0.9, 0.999};
  double eps = 1e-8;
  double weight_decay = 0.01;
  bool amsgrad = false;
  double momentum = 0.9;
  bool nesterov = false;
  double trust = 1e-3;
  bool larc = false;
  double norm_floor = 1;
  double lora_plus = 1;
  std::optional<double> embedding_lr;
  std::optional<SamConfig> sam;
  bool operator==(const OptimizerConfig&) const = default;
};

struct ScheduleConfig {
  ScheduleKind kind = ScheduleKind::cosine;
  StepsOrShare warmup{0.06};
  double min_lr = 0;
  std::optional<double> cycles;
  double power = 1;
  StepsOrShare decay{0.2};
  DecayShape decay_shape = DecayShape::cosine;
  bool operator==(const ScheduleConfig&) const = default;

  // The schedule of a group of parameters with base learning rate `lr` over `total` updates.
  Schedule over(int64_t total, double lr) const;
};

struct EarlyStopConfig {
  std::string metric = "loss";
  int64_t patience = 3;
  bool operator==(const EarlyStopConfig&) const = default;
};

struct SampleConfig {
  std::vector<std::string> prompts;
  std::optional<Interval> every = Interval{.steps = 200};
  int64_t max_tokens = 64;
  bool operator==(const SampleConfig&) const = default;
};

struct TrainConfig {
  std::optional<double> epochs = 3;
  std::optional<int64_t> steps;
  std::optional<int64_t> batch_size = 32, batch_tokens;
  int64_t accumulate = 1;
  Precision precision = Precision::f32;
  std::optional<double> clip = 1.0;
  bool recompute = false;
  int64_t seed = 0;
  std::optional<Interval> eval_every = Interval{.steps = 200}, save_every = Interval{.steps = 200};
  int64_t log_every = 10;
  int64_t keep = 2;
  int64_t max_skipped = 10;
  std::optional<EarlyStopConfig> early_stop;
  std::optional<SampleConfig> sample;
  bool operator==(const TrainConfig&) const = default;
};

struct ContinualConfig {
  std::string kind = "sequential";
  std::optional<double> weight;
  int64_t buffer = 256;
  bool operator==(const ContinualConfig&) const = default;
};

struct MetaConfig {
  std::string kind = "maml";
  double inner_lr = 0.01;
  int64_t inner_steps = 1, shots = 8, queries = 8, tasks_per_step = 4;
  bool permute_labels = false;
  bool operator==(const MetaConfig&) const = default;
};

struct Config {
  std::string model;
  std::string device = "cpu";  // cpu, cuda or cuda:N
  Task task = Task::classification;
  HeadConfig head;
  std::optional<DataConfig> data;  // or tasks
  std::vector<TaskConfig> tasks;
  AdapterConfig adapter;
  OptimizerConfig optimizer;
  ScheduleConfig schedule;
  TrainConfig train;
  std::string out;
  std::optional<ContinualConfig> continual;
  std::optional<MetaConfig> meta;
  bool operator==(const Config&) const = default;
};

// Reads a configuration file of at most 256 KiB and lays the `overrides` ("optimizer.lr=1e-4", the value in YAML) over
// it. Throws ConfigError, one line that opens with FILE:LINE (or with the word of the command line), for whatever
// cannot be meant.
Config load_config(const std::filesystem::path& file, std::span<const std::string> overrides = {});
// The same for a text; `source` stands for the file's name in errors.
Config parse_config(std::string_view text, std::string_view source, std::span<const std::string> overrides = {});

// The resolved configuration: every key with its value, defaults included. parse_config reads it back to an equal
// Config.
std::string to_yaml(const Config& config);

// docs/config.md: every key with its type, default and meaning.
std::string config_reference();

}  // namespace mora
