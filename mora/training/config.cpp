#include "mora/training/config.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>

#include "engine/device.h"
#include "engine/error.h"
#include "loaders/regular_file.h"
#include "mora/training/config_table.h"

namespace mora {
namespace {

// Conditions on more than one key. Each error opens with the place of the key that has to change.
class CrossChecks {
 public:
  CrossChecks(const Config& config, const Reading& reading, std::string_view source)
      : config_(config), reading_(reading), source_(source) {}

  void run() const {
    check_data();
    check_adapter();
    check_training();
    check_device();
  }

 private:
  std::string at(const std::string& path) const {
    const auto place = reading_.places.find(path);
    return (place != reading_.places.end() ? place->second : std::string(source_)) + ": " + path;
  }

  void check_data() const {
    require<ConfigError>(config_.data || !config_.tasks.empty(), "{} is missing: the rows to learn from", at("data"));
    require<ConfigError>(config_.tasks.empty() || config_.continual || config_.meta,
                         "{}: add continual: {{kind: sequential}} to learn them in turn, or meta: {{kind: maml}}",
                         at("tasks"));
    require<ConfigError>(!config_.tasks.empty() || !(config_.continual || config_.meta),
                         "{}: needs tasks: in place of data:", at(config_.continual ? "continual" : "meta"));
    if (config_.data) check_rows(*config_.data, "data");
    for (size_t i = 0; i < config_.tasks.size(); ++i)
      check_rows(config_.tasks[i].data, fmt::format("tasks[{}].data", i));
    if (config_.continual) check_continual();
    require<ConfigError>(!config_.head.class_weights || config_.task == Task::classification,
                         "{}: only classification has class weights", at("head.class_weights"));
  }

  void check_continual() const {
    const ContinualConfig& continual = *config_.continual;
    require<ConfigError>(config_.task == Task::classification, "{}: a continual run learns classification, not {}",
                         at("task"), name_of(config_.task));
    require<ConfigError>(!continual.weight || continual.kind == "ewc" || continual.kind == "olora",
                         "{}: only ewc and olora have it, not {}", at("continual.weight"), continual.kind);
    require<ConfigError>(!config_.adapter.adapt && !config_.adapter.restart,
                         "{}: does not go with adapter.adapt or adapter.restart", at("continual"));
    require<ConfigError>(!config_.head.class_weights || !config_.head.class_weights->balanced,
                         "{}: balanced: the tasks have different rows; give numbers", at("head.class_weights"));
    for (size_t i = 0; i < config_.tasks.size(); ++i) {
      const DataConfig& data = config_.tasks[i].data;
      require<ConfigError>(!data.valid.empty() || data.valid_fraction,
                           "{}: needs valid or valid_fraction: every task is measured after each",
                           at(fmt::format("tasks[{}].data", i)));
      for (size_t j = 0; j < i; ++j)
        require<ConfigError>(config_.tasks[i].name != config_.tasks[j].name, "{}: '{}' is there twice",
                             at(fmt::format("tasks[{}].name", i)), shown(config_.tasks[i].name));
    }
  }

  void check_rows(const DataConfig& data, const std::string& path) const {
    require<ConfigError>(!data.train.empty(), "{}: names no file", at(path + ".train"));
    const bool language = config_.task == Task::causal_lm;
    require<ConfigError>(data.text || (language && (data.prompt || data.messages)),
                         "{}: {} needs a column or field of text", at(path + ".text"), name_of(config_.task));
    require<ConfigError>(data.label || language, "{}: {} needs a column or field of labels", at(path + ".label"),
                         name_of(config_.task));
    for (const auto& [name, value] : {std::pair("prompt", &data.prompt), std::pair("completion", &data.completion),
                                      std::pair("messages", &data.messages)})
      require<ConfigError>(!*value || language, "{}: only causal_lm reads it, not {}", at(path + "." + name),
                           name_of(config_.task));
    require<ConfigError>(data.prompt.has_value() == data.completion.has_value(),
                         "{}: prompt and completion go together", at(path + (data.prompt ? ".prompt" : ".completion")));
    require<ConfigError>(!data.messages || !data.prompt,
                         "{}: a row is a chat or a prompt with its completion, not both", at(path + ".messages"));
  }

  void check_adapter() const {
    const AdapterConfig& adapter = config_.adapter;
    if (adapter.kind == "none") {
      require<ConfigError>(config_.task != Task::causal_lm, "{}: none leaves nothing to train for causal_lm",
                           at("adapter.kind"));
      require<ConfigError>(!adapter.experts && !adapter.act && !adapter.adapt, "{}: none has no experts, act or adapt",
                           at("adapter.kind"));
    }
    require<ConfigError>(adapter.kind != "mora" || adapter.init == "default",
                         "{}: '{}' is for the lora family; mora starts at zero", at("adapter.init"), adapter.init);
    const bool factorized = adapter.init == "pissa" || adapter.init == "olora";
    require<ConfigError>(!factorized || adapter.kind == "lora" || adapter.kind == "rslora",
                         "{}: '{}' is for lora and rslora, not {}", at("adapter.init"), adapter.init, adapter.kind);
    if (adapter.experts) check_experts(*adapter.experts);
    if (adapter.act) {
      require<ConfigError>(adapter.kind == "mora",
                           "{}: is for mora, not {}, which has no map of its compressed space into itself",
                           at("adapter.act"), adapter.kind);
      require<ConfigError>(!adapter.adapt && !adapter.restart,
                           "{}: does not go with adapt or restart: the ranks are fixed", at("adapter.act"));
    }
    if (const auto& restart = adapter.restart) {
      require<ConfigError>(adapter.kind == "mora", "{}: is for mora, not {}", at("adapter.restart"), adapter.kind);
      require<ConfigError>(!adapter.adapt, "{}: a run has adapt or restart, not both", at("adapter.restart"));
      const std::string first = restart->operators.empty() ? adapter.mora_operator : restart->operators.front();
      require<ConfigError>(first == adapter.mora_operator, "{}: begins with '{}', adapter.operator is '{}'",
                           at("adapter.restart.operators"), first, adapter.mora_operator);
    }
    if (const auto& adapt = adapter.adapt) {
      require<ConfigError>(!factorized,
                           "{}: '{}' does not go with adapt: what it took from the weight has a fixed rank",
                           at("adapter.init"), adapter.init);
      const bool same_unit = (adapt->start.value < 1) == (adapt->end.value < 1);
      require<ConfigError>(!same_unit || adapt->start.value <= adapt->end.value, "{}: ends before it starts",
                           at("adapter.adapt.end"));
      require<ConfigError>(!adapt->max_rank || adapt->min_rank <= *adapt->max_rank, "{}: below min_rank {}",
                           at("adapter.adapt.max_rank"), adapt->min_rank);
      require<ConfigError>(adapt->budget >= static_cast<double>(adapt->min_rank), "{}: below min_rank {}",
                           at("adapter.adapt.budget"), adapt->min_rank);
      const int64_t most = adapt->max_rank.value_or(adapter.rank);
      require<ConfigError>(adapt->budget <= static_cast<double>(most), "{}: above the largest rank of a layer, {}",
                           at("adapter.adapt.budget"), most);
    }
  }

  void check_experts(const ExpertsConfig& experts) const {
    const AdapterConfig& adapter = config_.adapter;
    require<ConfigError>(experts.count || !experts.hierarchy.empty(), "{}: give count or hierarchy",
                         at("adapter.experts"));
    const std::vector<int64_t> levels = experts.count ? std::vector{*experts.count} : experts.hierarchy;
    const int64_t least = *std::min_element(levels.begin(), levels.end());
    const int64_t most = *std::max_element(levels.begin(), levels.end());
    require<ConfigError>(experts.routing != "top_k" || experts.top_k <= least, "{}: {} of {} experts",
                         at("adapter.experts.top_k"), experts.top_k, least);
    require<ConfigError>(!experts.threshold || *experts.threshold * double(most) <= 1,
                         "{}: {} is above 1 / {} experts, so a token might reach no expert",
                         at("adapter.experts.threshold"), experts.threshold.value_or(0), most);
    require<ConfigError>(experts.routing != "dynmoe" || levels.size() == 1,
                         "{}: dynmoe, whose count of experts changes, has one level", at("adapter.experts.hierarchy"));
    require<ConfigError>(experts.routing != "dynmoe" || levels[0] <= experts.max_count, "{}: below count {}",
                         at("adapter.experts.max_count"), levels[0]);
    require<ConfigError>(adapter.kind == "mora" || adapter.kind == "lora" || adapter.kind == "rslora",
                         "{}: experts are mora, lora or rslora, not {}", at("adapter.kind"), adapter.kind);
    require<ConfigError>(adapter.init != "pissa" && adapter.init != "olora",
                         "{}: '{}' does not go with experts, which would share what it took", at("adapter.init"),
                         adapter.init);
    require<ConfigError>(!adapter.adapt && !adapter.restart,
                         "{}: does not go with adapt or restart: the ranks are fixed", at("adapter.experts"));
  }

  void check_training() const {
    const TrainConfig& train = config_.train;
    require<ConfigError>(train.epochs || train.steps, "{}: give epochs or steps", at("train.epochs"));
    require<ConfigError>(train.batch_size || train.batch_tokens, "{}: give batch_size or batch_tokens",
                         at("train.batch_size"));
    require<ConfigError>(config_.schedule.min_lr <= config_.optimizer.lr, "{}: {} is above optimizer.lr {}",
                         at("schedule.min_lr"), config_.schedule.min_lr, config_.optimizer.lr);
    const OptimizerConfig& optimizer = config_.optimizer;
    require<ConfigError>(!optimizer.nesterov || optimizer.kind != "sgd" || optimizer.momentum > 0,
                         "{}: needs a momentum above 0", at("optimizer.nesterov"));
    for (const auto& [lr, key] :
         {std::pair(optimizer.head_lr, "optimizer.head_lr"), {optimizer.embedding_lr, "optimizer.embedding_lr"}})
      require<ConfigError>(!lr || optimizer.lr > 0, "{}: needs an optimizer.lr above 0, of which it is a part",
                           at(key));
    auto only_for = [&](bool set, const char* key, const char* kind) {
      require<ConfigError>(!set || optimizer.kind == kind, "{}: only {} has it, not {}",
                           at(std::string("optimizer.") + key), kind, optimizer.kind);
    };
    only_for(optimizer.amsgrad, "amsgrad", "adamw");
    only_for(optimizer.nesterov, "nesterov", "sgd");
    only_for(optimizer.larc, "larc", "lars");
    if (train.early_stop) check_early_stop(train.early_stop->metric);
    if (train.sample) {
      require<ConfigError>(config_.task == Task::causal_lm, "{}: only causal_lm writes texts, not {}",
                           at("train.sample"), name_of(config_.task));
      require<ConfigError>(!train.sample->prompts.empty(), "{}: names no prompt", at("train.sample.prompts"));
    }
  }

  void check_device() const {
    try {
      parse_device(config_.device);
    } catch (const DeviceError& error) {
      fail<ConfigError>("{}: {}", at("device"), error.what());
    }
  }

  void check_early_stop(const std::string& metric) const {
    static const std::map<Task, std::vector<std::string>> known = {
        {Task::classification,
         {"loss", "accuracy", "f1_macro", "f1_weighted", "f1_micro", "mcc", "roc_auc", "log_loss"}},
        {Task::regression, {"loss", "mse", "pearson", "spearman"}},
        {Task::causal_lm, {"loss", "perplexity"}}};
    const std::vector<std::string>& metrics = known.at(config_.task);
    require<ConfigError>(std::find(metrics.begin(), metrics.end(), metric) != metrics.end(),
                         "{}: '{}' is not one of {}", at("train.early_stop.metric"), shown(metric),
                         fmt::join(metrics, ", "));
    const bool has_validation = !config_.data || !config_.data->valid.empty() || config_.data->valid_fraction;
    require<ConfigError>(has_validation, "{}: needs data.valid or data.valid_fraction", at("train.early_stop"));
  }

  const Config& config_;
  const Reading& reading_;
  std::string_view source_;
};

}  // namespace

int64_t StepsOrShare::of(int64_t total) const {
  return static_cast<int64_t>(value < 1 ? std::ceil(value * static_cast<double>(total)) : value);
}

Schedule ScheduleConfig::over(int64_t total, double lr) const {
  return {.kind = kind,
          .warmup = warmup.of(total),
          .total = total,
          .min_ratio = lr > 0 ? std::min(1.0, min_lr / lr) : 0,
          .cycles = cycles.value_or(0),
          .power = power,
          .decay = decay.of(total),
          .decay_shape = decay_shape};
}

Config parse_config(std::string_view text, std::string_view source, std::span<const std::string> overrides) {
  YamlNode root = parse_yaml(text, source);
  if (root.where.empty()) root.where = source;
  for (const std::string& word : overrides) apply_override(root, word);
  Reading reading{config_options(), {}};
  Config config;
  config_section().read(config, root, "", reading);
  CrossChecks(config, reading, source).run();
  return config;
}

Config load_config(const std::filesystem::path& file, std::span<const std::string> overrides) {
  constexpr size_t kMaxBytes = size_t{256} << 10;
  return parse_config(read_regular_file(file, kMaxBytes), file.string(), overrides);
}

std::string to_yaml(const Config& config) { return config_section().write(config, 0); }

std::string config_reference() {
  std::string text =
      "# Configuration\n\nEvery key of a training configuration. The same keys stand on the command line as "
      "`key.sub=value`, the value in "
      "YAML.\nThis page is printed by `mora config-reference`.\n\n| key | type | default | meaning "
      "|\n|---|---|---|---|\n";
  const auto cell = [](const std::string& words) {
    std::string escaped;
    for (char c : words) {
      if (c == '|') escaped += '\\';
      escaped += c;
    }
    return escaped;
  };
  for (const OptionDoc& option : config_options())
    text += fmt::format("| `{}` | {} | `{}` | {} |\n", option.path, cell(option.type), option.fallback,
                        cell(option.meaning));
  return text;
}

}  // namespace mora
