// The strict configuration: defaults, overrides, the resolved file, and the one line that each wrong one ends in.
#include "mora/training/config.h"

#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

#include "engine/error.h"

namespace mora {
namespace {

const std::string kSmallest = "model: m\ntask: classification\ndata: {train: t.tsv}\nout: o\n";

std::string error_of(const std::string& text, const std::vector<std::string>& overrides = {}) {
  try {
    parse_config(text, "c.yaml", overrides);
  } catch (const ConfigError& error) {
    return error.what();
  }
  return "no error";
}

Config parse(const std::string& text, const std::vector<std::string>& overrides = {}) {
  return parse_config(text, "c.yaml", overrides);
}

TEST(Config, DefaultsAreTheContracts) {
  const Config config = parse(kSmallest);
  EXPECT_EQ(config.head.pooling, "auto");
  EXPECT_EQ(config.data->text, "text");
  EXPECT_EQ(config.data->label, "label");
  EXPECT_EQ(config.data->max_length, 256);
  EXPECT_TRUE(config.data->packing && config.data->append_eos && config.data->shuffle);
  EXPECT_EQ(config.adapter.kind, "mora");
  EXPECT_EQ(config.adapter.rank, 8);
  EXPECT_EQ(config.adapter.mora_operator, "rotation");
  EXPECT_EQ(config.adapter.alpha, 16);
  EXPECT_EQ(std::get<std::string>(config.adapter.targets), "all-linear");
  EXPECT_FALSE(config.adapter.init_from || config.adapter.experts || config.adapter.act || config.adapter.adapt);
  EXPECT_EQ(config.optimizer.kind, "adamw");
  EXPECT_EQ(config.optimizer.lr, 1e-3);
  EXPECT_EQ(config.optimizer.betas, (std::array{0.9, 0.999}));
  EXPECT_EQ(config.optimizer.eps, 1e-8);
  EXPECT_EQ(config.optimizer.weight_decay, 0.01);
  EXPECT_EQ(config.optimizer.momentum, 0.9);
  EXPECT_FALSE(config.optimizer.head_lr || config.optimizer.sam);
  EXPECT_EQ(config.schedule.kind, ScheduleKind::cosine);
  EXPECT_EQ(config.schedule.warmup.value, 0.06);
  EXPECT_EQ(config.train.epochs, 3);
  EXPECT_EQ(config.train.batch_size, 32);
  EXPECT_FALSE(config.train.steps || config.train.batch_tokens || config.train.early_stop);
  EXPECT_EQ(config.train.precision, Precision::f32);
  EXPECT_EQ(config.train.clip, 1.0);
  EXPECT_EQ(config.train.eval_every, Interval{.steps = 200});
  EXPECT_EQ(config.train.save_every, Interval{.steps = 200});
  EXPECT_EQ(config.train.keep, 2);
}

// The contract's own example, with each value changed or each optional section filled.
const std::string kEverything = R"(
model: models/minilm
task: classification
head: {pooling: mean, class_weights: [1, 2.5]}
data:
  train: [a.tsv, "b*.tsv"]
  valid: v.tsv
  text: no            # a column of that name
  label: "010"
  max_length: 128
  shuffle: false
adapter:
  kind: adalora
  rank: 12
  init: gaussian
  rank_pattern: {".*query": 4}
  alpha_pattern: {".*value": 0.5}
  modules_to_save: [pooler]
  dropout: 0.1
  targets: [query, value]
  init_from: runs/a/adapter
  adapt: {budget: 4, start: 100, end: 0.9, importance: norm}
optimizer: {kind: lamb, lr: 1e-4, head_lr: 0.01, betas: [0.8, 0.99], sam: {kind: asam, rho: .1}}
schedule: {kind: warmup_stable_decay, warmup: 100, decay: 0.25, decay_shape: 1-sqrt}
train:
  steps: 500
  batch_tokens: 4096
  precision: bf16
  clip: null
  seed: 7
  eval_every: 0.25epoch
  save_every: null
  early_stop: {metric: f1_macro, patience: 2}
out: "runs/with: colon"
)";

// The adapter's sections that do not go with adapt.
const std::string kRouted =
    "model: m\ndata: {train: t}\nadapter: {experts: {hierarchy: [2, 4], routing: top_p, threshold: 0.1}, act: "
    "{max_steps: 3, loss: pondernet}}\nout: o\n";

TEST(Config, ReadsEveryKind) {
  const Config config = parse(kEverything);
  EXPECT_EQ(config.data->train, (std::vector<std::string>{"a.tsv", "b*.tsv"}));
  EXPECT_EQ(config.data->text, "no");
  EXPECT_EQ(config.data->label, "010");
  EXPECT_EQ(config.head.class_weights->weights, (std::vector<double>{1, 2.5}));
  EXPECT_EQ(config.adapter.rank_pattern.at(".*query"), 4);
  EXPECT_EQ(std::get<1>(config.adapter.targets), (std::vector<std::string>{"query", "value"}));
  const AdapterConfig routed = parse(kRouted).adapter;
  EXPECT_FALSE(routed.experts->count);
  EXPECT_EQ(routed.experts->hierarchy, (std::vector<int64_t>{2, 4}));
  EXPECT_EQ(routed.act->loss, "pondernet");
  EXPECT_EQ(config.adapter.adapt->start.of(1000), 100);
  EXPECT_EQ(config.adapter.adapt->end.of(1000), 900);
  EXPECT_EQ(config.optimizer.lr, 1e-4);
  EXPECT_EQ(config.optimizer.sam->rho, 0.1);
  EXPECT_FALSE(config.train.epochs || config.train.batch_size || config.train.clip || config.train.save_every);
  EXPECT_EQ(config.train.eval_every, Interval{.epochs = 0.25});
}

TEST(Config, TheResolvedFileReadsBackToTheSame) {
  const std::string continual =
      "model: m\ntasks: [{name: a, data: {train: 'x\\y \"z\"', valid: v}}, {name: b, data: {train: [p, q], "
      "valid_fraction: "
      "0.1}}]\n"
      "continual: {kind: olora, weight: 0.5}\nout: o\n";
  const std::string meta = "model: m\ntasks: [{name: a, data: {train: x}}]\nmeta: {kind: anil}\nout: o\n";
  const std::string chat =
      "model: m\ntask: causal_lm\ndata: {train: x.jsonl, text: null, label: null, messages: messages}\nout: 'null'\n";
  for (const std::string& text : {kSmallest, kEverything, kRouted, continual, meta, chat}) {
    const Config config = parse(text);
    const std::string resolved = to_yaml(config);
    EXPECT_EQ(parse(resolved), config) << resolved;
    EXPECT_EQ(to_yaml(parse(resolved)), resolved);
  }
}

TEST(Config, TheCommandLineWins) {
  const Config config =
      parse(kSmallest, {"optimizer.lr=5e-4", "adapter.targets=[query, key]", "adapter.experts.count=4",
                        "train.clip=", "train.steps=10", "optimizer.lr=6e-4"});
  EXPECT_EQ(config.optimizer.lr, 6e-4);
  EXPECT_EQ(std::get<1>(config.adapter.targets).size(), 2U);
  EXPECT_EQ(config.adapter.experts->count, 4);
  EXPECT_FALSE(config.train.clip);
  EXPECT_EQ(config.train.steps, 10);
  EXPECT_FALSE(config.train.epochs);
}

TEST(Config, OneOfAnExclusivePairReplacesTheOtherOfTheFile) {
  const std::string text = kSmallest + "train: {epochs: 2, batch_size: 4}\n";
  const Config config = parse(text, {"train.steps=7", "train.batch_tokens=100"});
  EXPECT_EQ(config.train.steps, 7);
  EXPECT_EQ(config.train.batch_tokens, 100);
  EXPECT_FALSE(config.train.epochs || config.train.batch_size);
  EXPECT_EQ(parse(kSmallest + "train: {steps: 9}\n", {"train.epochs=1"}).train.steps, std::nullopt);
}

TEST(Config, AStepOrAShare) {
  EXPECT_EQ(StepsOrShare{0.06}.of(100), 6);
  EXPECT_EQ(StepsOrShare{0.06}.of(101), 7);
  EXPECT_EQ(StepsOrShare{100}.of(50), 100);
  EXPECT_EQ(StepsOrShare{0}.of(50), 0);
}

TEST(Config, TheScheduleOfAGroupEndsAtItsOwnFloor) {
  ScheduleConfig schedule;
  schedule.kind = ScheduleKind::linear;
  schedule.min_lr = 1e-4;
  EXPECT_DOUBLE_EQ(schedule.over(10, 1e-3).multiplier(10) * 1e-3, 1e-4);
  EXPECT_DOUBLE_EQ(schedule.over(10, 1e-2).multiplier(10) * 1e-2, 1e-4);
}

TEST(Config, TheReferenceInTheDocsIsTheTables) {
  std::ifstream file(MORA_SOURCE_DIR "/docs/config.md");
  std::stringstream text;
  text << file.rdbuf();
  EXPECT_EQ(text.str(), config_reference()) << "write it again: mora config-reference > docs/config.md";
}

struct Wrong {
  const char* text;      // follows the smallest configuration, at line 5
  const char* expected;  // the error
};

class WrongConfig : public ::testing::TestWithParam<Wrong> {};

TEST_P(WrongConfig, SaysWhereAndWhat) { EXPECT_EQ(error_of(kSmallest + GetParam().text), GetParam().expected); }

INSTANTIATE_TEST_SUITE_P(
    Keys, WrongConfig,
    ::testing::Values(
        Wrong{"optimzer:\n  lr: 1e-3\n",
              "c.yaml:5: unknown key 'optimzer.lr'; did you mean 'optimizer.lr'? (a number of at least 0; default "
              "0.001)"},
        Wrong{"adapter: {rnak: 4}",
              "c.yaml:5: unknown key 'adapter.rnak'; did you mean 'adapter.rank'? (an integer from 1 to 2147483647; "
              "default 8)"},
        Wrong{"lr: 1",
              "c.yaml:5: unknown key 'lr'; did you mean 'optimizer.lr'? (a number of at least 0; default 0.001)"},
        Wrong{"optimzer: 3", "c.yaml:5: unknown key 'optimzer'; did you mean 'optimizer'?"},
        Wrong{"train: {lr: 3}",
              "c.yaml:5: unknown key 'train.lr'; did you mean 'optimizer.lr'? (a number of at least 0; default 0.001)"},
        Wrong{"adapter: {expert: {count: 2}}",
              "c.yaml:5: unknown key 'adapter.expert.count'; did you mean 'adapter.experts'? (a mapping, or null; "
              "default null)"},
        Wrong{"head:\n  depth: 3", "c.yaml:6: unknown key 'head.depth'; known here: pooling, class_weights"},
        Wrong{"'a\\nb': 3",
              "c.yaml:5: unknown key 'a\\nb'; known here: model, device, task, head, data, tasks, adapter, optimizer, "
              "schedule, train, out, "
              "continual, meta"},
        Wrong{"<<: {a: 1}",
              "c.yaml:5: unknown key '<<.a'; known here: model, device, task, head, data, tasks, adapter, optimizer, "
              "schedule, "
              "train, out, "
              "continual, meta"},
        Wrong{"out: p", "c.yaml:5: key 'out' is given twice, first at c.yaml:4"},
        Wrong{"adapter:\n  rank: 4\n  kind: lora\n  rank: 8\n",
              "c.yaml:8: key 'rank' is given twice, first at c.yaml:6"},
        Wrong{"? [a, b]\n: 1", "c.yaml:5: a key must be a plain word; is a bracket not closed?"},
        Wrong{"? {a: b}\n: 1", "c.yaml:5: a key must be a plain word; is a bracket not closed?"},
        Wrong{"null: 1", "c.yaml:5: a key must be a plain word; is a bracket not closed?"}));

INSTANTIATE_TEST_SUITE_P(
    Values, WrongConfig,
    ::testing::Values(
        Wrong{"adapter: {rank: 0}", "c.yaml:5: adapter.rank: expected an integer from 1 to 2147483647, got '0'"},
        Wrong{"adapter: {rank: eight}",
              "c.yaml:5: adapter.rank: expected an integer from 1 to 2147483647, got 'eight'"},
        Wrong{"adapter: {rank: 8.5}", "c.yaml:5: adapter.rank: expected an integer from 1 to 2147483647, got '8.5'"},
        Wrong{"adapter: {rank: 99999999999999999999}",
              "c.yaml:5: adapter.rank: expected an integer from 1 to 2147483647, got '99999999999999999999'"},
        Wrong{"adapter: {rank: '8'}",
              "c.yaml:5: adapter.rank: expected an integer from 1 to 2147483647, got '8' in quotes, which is a text"},
        Wrong{"adapter: {rank: 010}",
              "c.yaml:5: adapter.rank: expected an integer from 1 to 2147483647, got '010' (a leading "
              "zero: octal to some readers, so write it without)"},
        Wrong{"adapter: {rank: 0x10}", "c.yaml:5: adapter.rank: expected an integer from 1 to 2147483647, got '0x10'"},
        Wrong{"adapter: {rank: [8]}", "c.yaml:5: adapter.rank: expected an integer from 1 to 2147483647, got a list"},
        Wrong{"adapter: {rank: null}", "c.yaml:5: adapter.rank: expected an integer from 1 to 2147483647, got null"},
        Wrong{"adapter: {kind: lorra}",
              "c.yaml:5: adapter.kind: expected mora | lora | rslora | dora | adalora | none, got 'lorra'; did you "
              "mean 'lora'?"},
        Wrong{"adapter: 8", "c.yaml:5: adapter: expected a mapping, got '8'"},
        Wrong{"adapter: {alpha: 0}", "c.yaml:5: adapter.alpha: expected a number above 0, got '0'"},
        Wrong{"adapter: {dropout: 1}", "c.yaml:5: adapter.dropout: expected a number from 0 to below 1, got '1'"},
        Wrong{"adapter: {targets: []}",
              "c.yaml:5: adapter.targets: expected a text or a list of texts, got an empty list"},
        Wrong{"adapter: {rank_pattern: {q: 0}}",
              "c.yaml:5: adapter.rank_pattern: expected a mapping from texts to integers of at least 1, got a mapping"},
        Wrong{
            "adapter: {adapt: {start: 1}}",
            "c.yaml:5: adapter.adapt.budget is missing: mean rank at the end, each layer weighted by its size: as many "
            "parameters as a fresh adapter of this rank"},
        Wrong{"optimizer: {lr: nan}", "c.yaml:5: optimizer.lr: expected a number of at least 0, got 'nan'"},
        Wrong{"optimizer: {lr: .nan}", "c.yaml:5: optimizer.lr: expected a number of at least 0, got '.nan'"},
        Wrong{"optimizer: {lr: .inf}", "c.yaml:5: optimizer.lr: expected a number of at least 0, got '.inf'"},
        Wrong{"optimizer: {lr: inf}", "c.yaml:5: optimizer.lr: expected a number of at least 0, got 'inf'"},
        Wrong{"optimizer: {lr: 1e999}", "c.yaml:5: optimizer.lr: expected a number of at least 0, got '1e999'"},
        Wrong{"optimizer: {lr: -1e-3}", "c.yaml:5: optimizer.lr: expected a number of at least 0, got '-1e-3'"},
        Wrong{"optimizer: {lr: 1,5}",
              "c.yaml:5: unknown key 'optimizer.5'; known here: kind, lr, head_lr, betas, eps, "
              "weight_decay, amsgrad, momentum, nesterov, trust, larc, norm_floor, lora_plus, "
              "embedding_lr, sam"},
        Wrong{"optimizer: {lr: 1_000}", "c.yaml:5: optimizer.lr: expected a number of at least 0, got '1_000'"},
        Wrong{"optimizer: {betas: [0.9]}",
              "c.yaml:5: optimizer.betas: expected a list of two numbers from 0 to below 1, got a list"},
        Wrong{"optimizer: {betas: [0.9, 1]}",
              "c.yaml:5: optimizer.betas: expected a list of two numbers from 0 to below 1, got a list"},
        Wrong{"optimizer: {sam: {rho: 0}}", "c.yaml:5: optimizer.sam.rho: expected a number above 0, got '0'"},
        Wrong{"schedule: {warmup: 1.5}",
              "c.yaml:5: schedule.warmup: expected a number of steps, or a share below 1, got '1.5'"},
        Wrong{"schedule: {warmup: -1}",
              "c.yaml:5: schedule.warmup: expected a number of steps, or a share below 1, got '-1'"},
        Wrong{"schedule: {kind: cosin}",
              "c.yaml:5: schedule.kind: expected linear | cosine | cosine_with_restarts | polynomial | "
              "inverse_sqrt | warmup_stable_decay | constant | constant_with_warmup | "
              "cosine_with_min_lr, got 'cosin'; did you mean 'cosine'?"},
        Wrong{"train: {batch_size: 0}",
              "c.yaml:5: train.batch_size: expected an integer from 1 to 2147483647, or null, got '0'"},
        Wrong{"train: {recompute: no}", "c.yaml:5: train.recompute: expected true or false, got 'no'"},
        Wrong{"train: {recompute: 'true'}",
              "c.yaml:5: train.recompute: expected true or false, got 'true' in quotes, which is a text"},
        Wrong{"train: {eval_every: 0}",
              "c.yaml:5: train.eval_every: expected a number of steps such as 200, or a share of the data "
              "such as 0.25epoch, or null, got '0'"},
        Wrong{"train: {eval_every: -1epoch}",
              "c.yaml:5: train.eval_every: expected a number of steps such as 200, or a share of "
              "the data such as 0.25epoch, or null, got '-1epoch'"},
        Wrong{"train: {seed: -1}", "c.yaml:5: train.seed: expected an integer of at least 0, got '-1'"},
        Wrong{"train: {precision: fp16}",
              "c.yaml:5: train.precision: expected f32 | bf16 | f16, got 'fp16'; did you mean 'f16'?"},
        Wrong{"head: {class_weights: [1, -1]}",
              "c.yaml:5: head.class_weights: expected balanced, or a list of numbers above 0, or null, got a list"}));

INSTANTIATE_TEST_SUITE_P(
    Together, WrongConfig,
    ::testing::Values(
        Wrong{"train: {epochs: 1,\n  steps: 5}", "c.yaml:6: train.epochs and train.steps exclude each other; keep one"},
        Wrong{"train: {epochs: null}", "c.yaml:5: train.epochs: give epochs or steps"},
        Wrong{"train: {batch_size: 8, batch_tokens: 100}",
              "c.yaml:5: train.batch_size and train.batch_tokens exclude each other; keep one"},
        Wrong{"tasks: [{name: a, data: {train: t}}]", "c.yaml:5: data and tasks exclude each other; keep one"},
        Wrong{"continual: {kind: ewc}", "c.yaml:5: continual: needs tasks: in place of data:"},
        Wrong{"adapter: {init: pissa}", "c.yaml:5: adapter.init: 'pissa' is for the lora family; mora starts at zero"},
        Wrong{"adapter: {experts: {count: 2, top_k: 3}}", "c.yaml:5: adapter.experts.top_k: 3 of 2 experts"},
        Wrong{"adapter: {experts: {count: 2, hierarchy: [2]}}",
              "c.yaml:5: adapter.experts.count and adapter.experts.hierarchy exclude each other; keep one"},
        Wrong{"adapter: {kind: none, act: {max_steps: 2}}",
              "c.yaml:5: adapter.kind: none has no experts, act or adapt"},
        Wrong{"adapter: {adapt: {budget: 4, start: 0.5, end: 0.2}}",
              "c.yaml:5: adapter.adapt.end: ends before it starts"},
        Wrong{"adapter: {adapt: {budget: 2, min_rank: 3, max_rank: 2}}",
              "c.yaml:5: adapter.adapt.max_rank: below min_rank 3"},
        Wrong{"schedule: {min_lr: 1}", "c.yaml:5: schedule.min_lr: 1 is above optimizer.lr 0.001"},
        Wrong{"train: {sample: {prompts: [Hello]}}",
              "c.yaml:5: train.sample: only causal_lm writes texts, not classification"},
        Wrong{"train: {early_stop: {metric: accuracy}}",
              "c.yaml:5: train.early_stop: needs data.valid or data.valid_fraction"},
        Wrong{"train: {early_stop: {metric: acc}}",
              "c.yaml:5: train.early_stop.metric: 'acc' is not one of loss, accuracy, "
              "f1_macro, f1_weighted, f1_micro, mcc, roc_auc, log_loss"}));

INSTANTIATE_TEST_SUITE_P(
    Yaml, WrongConfig,
    ::testing::Values(
        Wrong{"adapter: &a {rank: 4}",
              "c.yaml:5: anchors and aliases (& and *) are not read here; write the value out, or quote the text"},
        Wrong{"train: {seed: *a}", "c.yaml:5: not YAML: the referenced anchor is not defined"},
        Wrong{"adapter: &a\n  b: *a",
              "c.yaml:5: anchors and aliases (& and *) are not read here; write the value out, or quote the text"},
        Wrong{"a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\n",
              "c.yaml:5: anchors and aliases (& and *) are not read here; write the value out, or quote the text"},
        Wrong{"train: {seed: !!str 5}",
              "c.yaml:5: tag 'tag:yaml.org,2002:str' is not read here; leave it out, each key knows its "
              "own type"},
        Wrong{"train: !!map {seed: 5}",
              "c.yaml:5: tag 'tag:yaml.org,2002:map' is not read here; leave it out, each key knows its "
              "own type"},
        Wrong{"train: !!python/object:os.system {}",
              "c.yaml:5: tag 'tag:yaml.org,2002:python/object:os.system' is not read here; "
              "leave it out, each key knows its own type"},
        Wrong{"train:\n\tseed: 1", "c.yaml:6: a tab in the indentation; use spaces"},
        Wrong{"---\nmodel: n", "c.yaml: a second document ('---'); keep one"},
        Wrong{"train: {seed: 1", "c.yaml:5: not YAML: end of map flow not found"},
        Wrong{"train: 'x", "c.yaml:5: not YAML: illegal EOF in scalar"},
        Wrong{" train: 1", "c.yaml:5: not YAML: illegal map value"},
        Wrong{"train: \x01", "c.yaml:5: control character 0x01; is this a text file?"},
        Wrong{"train: {seed: '\xff'}", "c.yaml: not UTF-8 text"}));

TEST(Config, AMissingKeyIsNamedWithItsMeaning) {
  EXPECT_EQ(error_of(""), "c.yaml: model is missing: a Hugging Face directory or a .gguf file");
  EXPECT_EQ(error_of("task: regression"), "c.yaml:1: model is missing: a Hugging Face directory or a .gguf file");
  EXPECT_EQ(error_of("model: m\nout: o"), "c.yaml: data is missing: the rows to learn from");
  EXPECT_EQ(error_of("model: m\nout: o\ndata:\n  text: t"),
            "c.yaml:4: data.train is missing: training data: .tsv .csv .jsonl .txt; several "
            "files or globs as a list");
  EXPECT_EQ(error_of("[1, 2]"), "c.yaml:1: expected a mapping, got a list");
}

TEST(Config, ATaskNeedsItsColumns) {
  const auto with = [](const char* task, const char* data) {
    return fmt::format("model: m\nout: o\ntask: {}\ndata: {{train: t, {}}}\n", task, data);
  };
  EXPECT_EQ(error_of(with("regression", "label: null")),
            "c.yaml:4: data.label: regression needs a column or field of labels");
  EXPECT_EQ(error_of(with("classification", "text: null")),
            "c.yaml:4: data.text: classification needs a column or field of text");
  EXPECT_EQ(error_of(with("classification", "prompt: p")),
            "c.yaml:4: data.prompt: only causal_lm reads it, not classification");
  EXPECT_EQ(error_of(with("causal_lm", "prompt: p")), "c.yaml:4: data.prompt: prompt and completion go together");
  EXPECT_EQ(error_of(with("causal_lm", "prompt: p, completion: c, messages: m")),
            "c.yaml:4: data.messages: a row is a chat or a prompt with its completion, not both");
  EXPECT_EQ(error_of(with("causal_lm", "train: u")), "c.yaml:4: key 'train' is given twice, first at c.yaml:4");
  EXPECT_EQ(error_of(with("regression", "label: y") + "head: {class_weights: balanced}"),
            "c.yaml:5: head.class_weights: only classification has class weights");
  EXPECT_EQ(error_of(with("causal_lm", "label: null") + "adapter: {kind: none}"),
            "c.yaml:5: adapter.kind: none leaves nothing to train for causal_lm");
}

TEST(Config, AnOptimizersOwnKeysAreForItAlone) {
  EXPECT_EQ(error_of(kSmallest, {"optimizer.kind=lamb", "optimizer.amsgrad=true"}),
            "optimizer.amsgrad=true: optimizer.amsgrad: only adamw has it, not lamb");
  EXPECT_EQ(error_of(kSmallest + "optimizer: {nesterov: true}"),
            "c.yaml:5: optimizer.nesterov: only sgd has it, not adamw");
  EXPECT_EQ(error_of(kSmallest + "optimizer: {kind: sgd, nesterov: true, momentum: 0}"),
            "c.yaml:5: optimizer.nesterov: needs a momentum above 0");
  EXPECT_EQ(error_of(kSmallest + "optimizer: {kind: sgd, larc: true}"),
            "c.yaml:5: optimizer.larc: only lars has it, not sgd");
  for (const char* key : {"head_lr", "embedding_lr"})
    EXPECT_EQ(error_of(kSmallest + "optimizer: {lr: 0, " + key + ": 0.1}"),
              fmt::format("c.yaml:5: optimizer.{}: needs an optimizer.lr above 0, of which it is a part", key));
  EXPECT_EQ(parse(kSmallest + "optimizer: {kind: sgd, nesterov: true}").optimizer.nesterov, true);
}

TEST(Config, AWrongWordOfTheCommandLineIsItsOwnPlace) {
  EXPECT_EQ(error_of(kSmallest, {"optimzer.lr=1e-4"}),
            "optimzer.lr=1e-4: unknown key 'optimzer.lr'; did you mean 'optimizer.lr'? (a number of at least 0; "
            "default 0.001)");
  EXPECT_EQ(error_of(kSmallest, {"optimizer.lr=fast"}),
            "optimizer.lr=fast: optimizer.lr: expected a number of at least 0, got 'fast'");
  EXPECT_EQ(error_of(kSmallest, {"optimizer.lr"}), "optimizer.lr: expected KEY=VALUE, such as optimizer.lr=1e-4");
  EXPECT_EQ(error_of(kSmallest, {"out.sub=1"}), "out.sub=1: 'out' has no keys of its own");
  EXPECT_EQ(error_of(kSmallest, {"adapter.targets=[a"}),
            "adapter.targets=[a: a key must be a plain word; is a bracket not closed?");
  EXPECT_EQ(error_of(kSmallest, {"train.steps=1", "train.epochs=1"}),
            "train.steps=1: train.epochs and train.steps exclude each other; keep one");
}

TEST(Config, DeepNestingAndManyKeysEndQuickly) {
  EXPECT_EQ(error_of(kSmallest + "train: " + std::string(100000, '[') + std::string(100000, ']')),
            "c.yaml:5: nested deeper than 32 levels");
  EXPECT_EQ(error_of(kSmallest + "train: " + std::string(100000, '[')),
            "c.yaml:5: a key must be a plain word; is a bracket not closed?");
  EXPECT_EQ(error_of(kSmallest + "train: " + std::string(100000, '{')),
            "c.yaml:5: a key must be a plain word; is a bracket not closed?");
  std::string many = kSmallest + "adapter:\n  rank_pattern:\n";
  for (int i = 0; i < 10000; ++i) many += "    k" + std::to_string(i) + ": 1\n";
  EXPECT_EQ(parse(many).adapter.rank_pattern.size(), 10000U);
}

TEST(Config, AFileTooLargeOrNoFileIsRefused) {
  EXPECT_THROW(load_config("/dev/zero"), IoError);
  EXPECT_THROW(load_config("/nonexistent.yaml"), IoError);
}

}  // namespace
}  // namespace mora
