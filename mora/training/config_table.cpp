#include "mora/training/config_table.h"

#include <fmt/format.h>

#include <algorithm>

namespace mora {
namespace {

constexpr int64_t kMost = 2147483647;

Check<int64_t> at_least(int64_t least) {
  return {
      fmt::format(" from {} to {}", least, kMost), [least](const int64_t& v) { return v >= least && v <= kMost; }, {}};
}
Check<int64_t> not_negative_integer() {
  return {" of at least 0", [](const int64_t& v) { return v >= 0; }, {}};
}
Check<double> positive() {
  return {" above 0", [](const double& v) { return v > 0; }, {}};
}
Check<double> not_negative() {
  return {" of at least 0", [](const double& v) { return v >= 0; }, {}};
}
Check<double> below_one() {
  return {" from 0 to below 1", [](const double& v) { return v >= 0 && v < 1; }, {}};
}
Check<double> share() {
  return {" above 0 and at most 1", [](const double& v) { return v > 0 && v <= 1; }, {}};
}
Check<double> share_below_one() {
  return {" above 0 and below 1", [](const double& v) { return v > 0 && v < 1; }, {}};
}

template <class T>
Check<std::map<std::string, T>> each_at_least_one() {
  return {" of at least 1",
          [](const std::map<std::string, T>& map) {
            return std::all_of(map.begin(), map.end(),
                               [](const auto& entry) { return entry.second >= 1 && entry.second <= kMost; });
          },
          {}};
}

Section<HeadConfig> head_section() {
  return Section<HeadConfig>()
      .choice("pooling", &HeadConfig::pooling, {"auto", "pooler", "cls", "mean"},
              "how a sequence becomes one vector: pooler (Hugging Face's ...ForSequenceClassification), cls, mean; "
              "auto: what "
              "1_Pooling/config.json says, else the pooler if its weights are there, else cls")
      .key("class_weights", &HeadConfig::class_weights,
           "classification: weights of the labels in the loss; balanced: rows / (labels * rows of the label)");
}

Section<DataConfig> data_section() {
  return Section<DataConfig>()
      .key("train", &DataConfig::train, "training data: .tsv .csv .jsonl .txt; several files or globs as a list")
      .required()
      .key("valid", &DataConfig::valid, "validation data, as train")
      .key("valid_fraction", &DataConfig::valid_fraction, "instead of valid: the share of train that is held out",
           share_below_one())
      .key("text", &DataConfig::text, "column or field that holds the text")
      .key("label", &DataConfig::label, "column or field that holds the label, or for regression the number")
      .key("prompt", &DataConfig::prompt, "causal_lm: field of the prompt, which is not trained; goes with completion")
      .key("completion", &DataConfig::completion, "causal_lm: field of the completion, which is trained")
      .key("messages", &DataConfig::messages,
           "causal_lm: field of a chat's messages; the assistant's turns are trained")
      .key("max_length", &DataConfig::max_length, "tokens a row; what is longer is cut", at_least(1))
      .key("packing", &DataConfig::packing,
           "causal_lm: fill a token budget with whole documents; never changes a loss, only speed")
      .key("append_eos", &DataConfig::append_eos, "causal_lm, plain text and completions: the end token is trained")
      .key("shuffle", &DataConfig::shuffle, "false: the file's order, batch after batch, the last short one included")
      .exclusive("valid", "valid_fraction");
}

Section<ExpertsConfig> experts_section() {
  return Section<ExpertsConfig>()
      .key("count", &ExpertsConfig::count, "experts a layer", at_least(1))
      .key("hierarchy", &ExpertsConfig::hierarchy,
           "instead of count: [2, 4] = 2 groups of 4 leaves; each level owns adapters",
           Check<std::vector<int64_t>>{" of at least 1",
                                       [](const std::vector<int64_t>& levels) {
                                         return std::all_of(levels.begin(), levels.end(),
                                                            [](int64_t n) { return n >= 1 && n <= 4096; });
                                       },
                                       {}})
      .key("top_k", &ExpertsConfig::top_k, "top_k: experts a token", at_least(1))
      .choice("routing", &ExpertsConfig::routing, {"top_k", "top_p", "threshold", "dynmoe", "switch"},
              "how experts are chosen")
      .key("top_p", &ExpertsConfig::top_p, "top_p: the smallest set of experts whose probabilities exceed it", share())
      .key("threshold", &ExpertsConfig::threshold,
           "threshold: largest threshold, at most 1 / experts; null: 1 / experts", share())
      .key("balance", &ExpertsConfig::balance, "weight of the balance loss", not_negative())
      .key("z_loss", &ExpertsConfig::z_loss, "weight of the mean squared log-sum-exp of the router's logits",
           not_negative())
      .key("entropy", &ExpertsConfig::entropy, "top_p: weight of the router's entropy in the loss", not_negative())
      .key("capacity", &ExpertsConfig::capacity, "switch: room of an expert, in fair shares of the tokens", positive())
      .key("noise", &ExpertsConfig::noise,
           "switch: in training the router's input is multiplied by 1 - noise to 1 + noise", share_below_one())
      .key("interval", &ExpertsConfig::interval,
           "dynmoe: updates after which experts that no token used go, and one comes where tokens found none",
           at_least(1))
      .key("max_count", &ExpertsConfig::max_count, "dynmoe: most experts a layer", at_least(1))
      .exclusive("count", "hierarchy");
}

Section<ActConfig> act_section() {
  return Section<ActConfig>()
      .key("max_steps", &ActConfig::max_steps, "most steps a token takes", at_least(1))
      .key("epsilon", &ActConfig::epsilon, "a token halts when its probabilities reach 1 - epsilon", share_below_one())
      .key("ponder", &ActConfig::ponder, "weight of the ponder cost", not_negative())
      .choice("loss", &ActConfig::loss, {"graves", "pondernet"},
              "steps + remainder (Graves 2016), or PonderNet's expectation");
}

Section<AdaptConfig> adapt_section() {
  return Section<AdaptConfig>()
      .key("budget", &AdaptConfig::budget,
           "mean rank at the end, each layer weighted by its size: as many parameters as a fresh adapter of this rank",
           positive())
      .required()
      .key("start", &AdaptConfig::start, "first rank event")
      .key("end", &AdaptConfig::end, "the budget is reached")
      .key("interval", &AdaptConfig::interval, "updates between rank events", at_least(1))
      .key("min_rank", &AdaptConfig::min_rank, "least rank of a layer", at_least(1))
      .key("max_rank", &AdaptConfig::max_rank, "largest rank of a layer; null: adapter.rank, so that ranks only fall",
           at_least(1))
      .choice("importance", &AdaptConfig::importance, {"sensitivity", "gradient", "norm"},
              "smoothed |p * grad| with its uncertainty (AdaLoRA), plain |p * grad|, or the norm of the update")
      .key("rewarm", &AdaptConfig::rewarm, "updates of re-warm-up after a rank event", at_least(0))
      .key(
          "scale_lr", &AdaptConfig::scale_lr,
          "a layer's learning rate rises as its rank falls (lora: by initial rank / rank), so that an update moves its "
          "output as much as before");
}

const std::initializer_list<std::string_view> operator_names = {
    "sharing", "group", "group_sharing", "sharing_group", "rotation", "truncation", "decouple", "rotation_full"};

Section<RestartConfig> restart_section() {
  return Section<RestartConfig>()
      .key("interval", &RestartConfig::interval, "updates between restarts", at_least(1))
      .required()
      .key("operators", &RestartConfig::operators,
           "the operators taken in turn, from adapter.operator on, as [sharing, group]; empty: it stays",
           Check<std::vector<std::string>>{" of adapter.operator's words",
                                           [](const std::vector<std::string>& words) {
                                             return std::all_of(words.begin(), words.end(), [](const auto& word) {
                                               return std::find(operator_names.begin(), operator_names.end(), word) !=
                                                      operator_names.end();
                                             });
                                           },
                                           {}})
      .key("rewarm", &RestartConfig::rewarm, "updates of re-warm-up after a restart", at_least(0));
}

Section<AdapterConfig> adapter_section() {
  return Section<AdapterConfig>()
      .choice("kind", &AdapterConfig::kind, {"mora", "lora", "rslora", "dora", "adalora", "none"},
              "the update of a frozen linear layer")
      .key("rank", &AdapterConfig::rank,
           "rank, at most the smaller side of each weight; mora: the size of M is chosen so that it has as many "
           "parameters as LoRA of this rank, and ends at that side",
           at_least(1))
      .choice("operator", &AdapterConfig::mora_operator, operator_names,
              "mora: how inputs are compressed and outputs decompressed; types 1, 2, 3, 4, 6 of the paper's code, "
              "truncation, "
              "decouple, and the rotation that reads every input")
      .choice("init", &AdapterConfig::init, {"default", "gaussian", "pissa", "olora"}, "lora family: initial A and B")
      .key("alpha", &AdapterConfig::alpha, "lora family: scaling alpha / rank (rslora: alpha / sqrt(rank))", positive())
      .key("rank_pattern", &AdapterConfig::rank_pattern, "module regular expression -> rank",
           each_at_least_one<int64_t>())
      .key("alpha_pattern", &AdapterConfig::alpha_pattern, "module regular expression -> alpha",
           Check<std::map<std::string, double>>{" above 0",
                                                [](const std::map<std::string, double>& map) {
                                                  return std::all_of(map.begin(), map.end(),
                                                                     [](const auto& e) { return e.second > 0; });
                                                },
                                                {}})
      .key("modules_to_save", &AdapterConfig::modules_to_save, "modules trained whole and saved with the adapter")
      .key("dropout", &AdapterConfig::dropout, "dropout on the adapter's input; embeddings have none", below_one())
      .key("targets", &AdapterConfig::targets,
           "all-linear (every linear of the transformer blocks; no pooler, no head, no embedding), a list of names, or "
           "a regular expression on module paths; lora and rslora take embeddings too, by name")
      .key("init_from", &AdapterConfig::init_from,
           "a MoRA or PEFT adapter directory to start from; its kind, rank, targets and classifier win over the keys "
           "here")
      .section("experts", &AdapterConfig::experts, experts_section(), "a mixture of adapters, routed by token")
      .section("act", &AdapterConfig::act, act_section(), "adaptive computation time in the compressed space")
      .section("adapt", &AdapterConfig::adapt, adapt_section(), "rank adaptation while training")
      .section("restart", &AdapterConfig::restart, restart_section(),
               "mora: fold what was learnt into the weight and start a new M every so often (ReMoRA)");
}

Section<OptimizerConfig> optimizer_section() {
  const auto sam =
      Section<SamConfig>()
          .choice("kind", &SamConfig::kind, {"sam", "asam", "looksam"},
                  "sharpness-aware minimisation, adaptive, or LookSAM")
          .key("rho", &SamConfig::rho, "radius of the perturbation", positive())
          .key("eta", &SamConfig::eta, "asam: added to |w|, so that what starts at zero is perturbed too",
               not_negative())
          .key("interval", &SamConfig::interval, "looksam: updates from one full perturbation to the next", at_least(1))
          .key("alpha", &SamConfig::alpha,
               "looksam: weight of the kept direction in the updates between, in norms of the gradient",
               not_negative());
  return Section<OptimizerConfig>()
      .choice("kind", &OptimizerConfig::kind, {"sgd", "adamw", "lars", "lamb"}, "the update rule")
      .key("lr", &OptimizerConfig::lr, "peak learning rate", not_negative())
      .key("head_lr", &OptimizerConfig::head_lr, "learning rate of the head; null: lr", not_negative())
      .key("betas", &OptimizerConfig::betas, "adamw, lamb: decay of the moments",
           Check<std::array<double, 2>>{
               " from 0 to below 1",
               [](const std::array<double, 2>& b) { return b[0] >= 0 && b[0] < 1 && b[1] >= 0 && b[1] < 1; },
               {}})
      .key("eps", &OptimizerConfig::eps, "added to the denominator", positive())
      .key("weight_decay", &OptimizerConfig::weight_decay, "decay of weights; biases and norms have none",
           not_negative())
      .key("amsgrad", &OptimizerConfig::amsgrad, "adamw: divide by the largest mean square so far")
      .key("momentum", &OptimizerConfig::momentum, "sgd, lars", below_one())
      .key("nesterov", &OptimizerConfig::nesterov, "sgd: look ahead along the momentum")
      .key("trust", &OptimizerConfig::trust, "lars: a weight's local rate is trust * its norm / its gradient's norm",
           positive())
      .key("larc", &OptimizerConfig::larc, "lars: clip the local rate so that no weight moves faster than by lr alone")
      .key("norm_floor", &OptimizerConfig::norm_floor,
           "lars, lamb: a weight of at most this norm takes plain steps of lr, so that what starts at zero trains",
           not_negative())
      .key("lora_plus", &OptimizerConfig::lora_plus, "learning rate of B divided by that of A (LoRA+)", positive())
      .key("embedding_lr", &OptimizerConfig::embedding_lr,
           "learning rate of adapters on embeddings, which lora_plus leaves alone; null: lr", not_negative())
      .section("sam", &OptimizerConfig::sam, sam, "sharpness-aware minimisation around the update rule");
}

Section<ScheduleConfig> schedule_section() {
  return Section<ScheduleConfig>()
      .key("kind", &ScheduleConfig::kind, "shape of the learning rate, with Hugging Face's names and values")
      .key("warmup", &ScheduleConfig::warmup, "linear rise from 0: updates, or a share below 1")
      .key("min_lr", &ScheduleConfig::min_lr, "the learning rate that a decay ends at", not_negative())
      .key("cycles", &ScheduleConfig::cycles, "cosine: turns (null: 0.5); cosine_with_restarts: restarts (null: 1)",
           positive())
      .key("power", &ScheduleConfig::power, "polynomial: exponent", positive())
      .key("decay", &ScheduleConfig::decay, "warmup_stable_decay: the last updates that decay, or a share below 1")
      .key("decay_shape", &ScheduleConfig::decay_shape, "warmup_stable_decay: shape of the decay");
}

Section<TrainConfig> train_section() {
  const auto early_stop = Section<EarlyStopConfig>()
                              .key("metric", &EarlyStopConfig::metric, "loss, or a metric of the task")
                              .key("patience", &EarlyStopConfig::patience,
                                   "evaluations without a better value before the run ends", at_least(1));
  const auto sample =
      Section<SampleConfig>()
          .key("prompts", &SampleConfig::prompts, "what is continued; where the rows are chats, what a user says")
          .required()
          .key("every", &SampleConfig::every, "updates, or 0.25epoch, between texts; null: only at the end")
          .key("max_tokens", &SampleConfig::max_tokens, "tokens of a text, at most", at_least(1));
  return Section<TrainConfig>()
      .key("epochs", &TrainConfig::epochs, "passes over the data", positive())
      .key("steps", &TrainConfig::steps, "instead of epochs: updates", at_least(1))
      .key("batch_size", &TrainConfig::batch_size, "rows a batch", at_least(1))
      .key("batch_tokens", &TrainConfig::batch_tokens, "instead of batch_size: tokens a batch, at most", at_least(1))
      .key("accumulate", &TrainConfig::accumulate,
           "batches an update; the loss is divided by all their labelled tokens", at_least(1))
      .key("precision", &TrainConfig::precision, "of frozen weights and activations; what is trained stays in f32")
      .key("clip", &TrainConfig::clip, "largest global norm of the gradient; null: none", positive())
      .key("recompute", &TrainConfig::recompute,
           "recompute activations in the backward: less memory, more time, the same bits")
      .key("seed", &TrainConfig::seed, "of shuffling, dropout and initial values", not_negative_integer())
      .key("eval_every", &TrainConfig::eval_every, "updates, or 0.25epoch, between evaluations; null: only at the end")
      .key("save_every", &TrainConfig::save_every, "updates, or 0.25epoch, between checkpoints; null: only at the end")
      .key("log_every", &TrainConfig::log_every,
           "on a card: updates after which their losses are read, all at once; the processor's are after each",
           at_least(1))
      .key("keep", &TrainConfig::keep, "checkpoints kept", at_least(1))
      .key("max_skipped", &TrainConfig::max_skipped,
           "updates in a row before the run stops whose loss or gradient is not finite, or whose loss is ten times the "
           "start's",
           at_least(1))
      .section("early_stop", &TrainConfig::early_stop, early_stop, "end when validation no longer improves")
      .section("sample", &TrainConfig::sample, sample, "causal_lm: texts that the model writes while it is trained")
      .exclusive("epochs", "steps")
      .exclusive("batch_size", "batch_tokens");
}

Section<Config> make_section() {
  const auto task = Section<TaskConfig>()
                        .key("name", &TaskConfig::name, "name of the task")
                        .required()
                        .section("data", &TaskConfig::data, data_section(), "")
                        .required();
  const auto continual =
      Section<ContinualConfig>()
          .choice("kind", &ContinualConfig::kind, {"sequential", "ewc", "olora", "replay"},
                  "what protects earlier tasks")
          .key("weight", &ContinualConfig::weight, "ewc, olora: weight of the penalty; null: 1000, 0.5", not_negative())
          .key("buffer", &ContinualConfig::buffer, "replay: rows kept of all earlier tasks", at_least(1));
  const auto meta =
      Section<MetaConfig>()
          .choice("kind", &MetaConfig::kind, {"maml", "fomaml", "reptile", "anil", "metasgd"}, "the meta-learner")
          .key("inner_lr", &MetaConfig::inner_lr, "learning rate of the inner loop", positive())
          .key("inner_steps", &MetaConfig::inner_steps, "updates of the inner loop", at_least(1))
          .key("shots", &MetaConfig::shots, "support rows a label", at_least(1))
          .key("queries", &MetaConfig::queries, "query rows a label", at_least(1))
          .key("tasks_per_step", &MetaConfig::tasks_per_step, "tasks a meta-update", at_least(1))
          .key("permute_labels", &MetaConfig::permute_labels,
               "the labels change places from episode to episode: a task more for each order");
  return Section<Config>()
      .key("model", &Config::model, "a Hugging Face directory or a .gguf file")
      .required()
      .key("device", &Config::device, "what it is trained on: cpu, cuda or cuda:1")
      .key("task", &Config::task, "what is learnt")
      .section("head", &Config::head, head_section(), "classification, regression, embedding")
      .section("data", &Config::data, data_section(), "the rows to learn from")
      .sections("tasks", &Config::tasks, task, "instead of data: several sets, for a continual run or meta-training")
      .section("adapter", &Config::adapter, adapter_section(), "")
      .section("optimizer", &Config::optimizer, optimizer_section(), "")
      .section("schedule", &Config::schedule, schedule_section(), "")
      .section("train", &Config::train, train_section(), "")
      .key("out", &Config::out, "the run directory")
      .required()
      .section("continual", &Config::continual, continual, "learn the tasks one after the other")
      .section("meta", &Config::meta, meta, "learn to learn the tasks from few rows")
      .exclusive("data", "tasks")
      .exclusive("continual", "meta");
}

}  // namespace

const Section<Config>& config_section() {
  static const Section<Config> section = make_section();
  return section;
}

const std::vector<OptionDoc>& config_options() {
  static const std::vector<OptionDoc> options = [] {
    std::vector<OptionDoc> rows;
    config_section().describe(Config{}, "", rows);
    return rows;
  }();
  return options;
}

}  // namespace mora
