// PEFT's LoRA on embeddings from the same state: logits, merged weights and twenty losses, of an encoder and of a
// language model whose head is tied to the table (goldens/write_peft_embedding_goldens.py).
#include <cmath>

#include "autograd/ops/shape.h"
#include "parity/peft_run.h"

namespace mora {
namespace {

using Kind = AdapterSpec::Kind;

const std::string smollm2 = (test::source / ".cache/models/SmolLM2-135M-Instruct.Q4_1.gguf").string();

// As the goldens' script initialises it; PEFT's lora_embedding_A is the transpose of ours.
void initialise(MoRAModel& model) {
  model.visit_parameters([&](const std::string& name, Tensor& value) {
    const std::string key = "base_model.model." + name;
    if (name.ends_with("lora_A")) test::set_by_formula(value, key + ".weight", 1 / std::sqrt(double(value.dim(1))));
    if (name.ends_with("lora_B")) test::set_by_formula(value, key + ".weight", 0.02);
    if (name.ends_with("lora_embedding_A")) test::set_by_formula(value, key, 0.02);
    if (name.ends_with("lora_embedding_B")) test::set_by_formula(value, key, 0.5);
    if (name == "classifier.weight") test::set_by_formula(value, key, 0.03);
  });
}

void expect_deltas(const nlohmann::json& golden, const MoRAModel& model) {
  for (const auto& [module, expected] : golden.items()) {
    const Tensor delta = contiguous(transpose(model.adapted().at(module)->layer().merged()));  // (rows, d)
    const auto values = delta.values<double>();
    double squares = 0;
    for (const double v : values) squares += v * v;
    EXPECT_NEAR(std::sqrt(squares) / expected["norm"].get<double>(), 1, 1e-4) << module;
    const auto step = expected["step"].get<size_t>();
    for (size_t i = 0; i < expected["values"].size(); ++i)
      EXPECT_NEAR(values[i * step], expected["values"][i].get<double>(), 1e-6) << module << " " << i * step;
  }
}

constexpr const char* run =
    "schedule: {kind: constant}\n"
    "train: {steps: 20, epochs: null, clip: null, eval_every: null, save_every: null, ";

struct PeftEmbeddings : test::PeftRun {
  const nlohmann::json goldens = read_json(test::source / "tests/goldens/peft_embeddings.json");

  Config encoder_config(const std::string& optimizer) const {
    return on_every_37th_row(
        config("run", run + std::string("batch_size: 8}\nhead: {pooling: pooler}\noptimizer: ") + optimizer + "\n"));
  }

  void expect_losses(const nlohmann::json& golden) const {
    const auto lines = metrics("run");
    ASSERT_EQ(lines.size(), 20U);
    expect_curves(lines, golden);
  }
};

TEST_F(PeftEmbeddings, AnEncodersLogitsMergedWeightsAndLossesAgree) {
  for (const auto& [name, optimizer] : {std::pair("lora", "{lr: 2e-4}"),
                                        {"rslora", "{lr: 2e-4}"},
                                        {"lora_plus", "{lr: 2e-4, lora_plus: 4, embedding_lr: 1e-3}"}}) {
    SCOPED_TRACE(name);
    const nlohmann::json& golden = goldens[name];
    MoRAModel model(load_model(test::minilm));
    model.add_adapters({.kind = Kind::lora, .rank = 6, .alpha = 12, .rank_stabilized = name == std::string("rslora")},
                       std::vector<std::string>{"word_embeddings", "position_embeddings", "query"}, 0);
    model.set_head(Pooling::pooler, Classifier::fresh(2, 384, 0));
    initialise(model);
    Config c = encoder_config(optimizer);
    expect_logits(golden["logits"], model, c);
    expect_deltas(golden["delta"], model);
    c.adapter.init_from =
        test::saved(directory / "initial", model,
                    {.base_model = "", .task = "", .pooling = "pooler", .labels = {"negative", "positive"}});
    train(c, {.quiet = true});
    expect_losses(golden);
    std::filesystem::remove_all(directory / "run");
    std::filesystem::remove_all(directory / "initial");
  }
}

// The tied head goes on reading the table as the model has it.
TEST_F(PeftEmbeddings, ALanguageModelsWithATiedHeadAgree) {
  const nlohmann::json& golden = goldens["tied"];
  MoRAModel model(load_model(smollm2));
  model.add_adapters({.kind = Kind::lora, .rank = 4, .alpha = 8}, std::vector<std::string>{"embed_tokens", "q_proj"},
                     0);
  initialise(model);
  expect_deltas(golden["delta"], model);
  Config c = parse_config("model: " + smollm2 + "\ntask: causal_lm\ndata: {train: " + test::reviews +
                              ", text: text, max_length: 64, shuffle: false}\nout: " + (directory / "run").string() +
                              "\noptimizer: {lr: 2e-4}\n" + run + "batch_size: 4}\n",
                          "test.yaml");
  {
    const NoGrad no_grad;
    const int64_t first[] = {0};
    Context context;
    const Sequences text = to_sequences(read_training_data(c).train.batch(first));
    const Tensor hidden = model.base().hidden_states(text, context);
    const Tensor logits = linear(contiguous(slice(hidden, 0, hidden.dim(0) - 1, 1)), model.base().lm_head());
    for (size_t i = 0; i < golden["logits"].size(); ++i)
      EXPECT_NEAR(logits.values<float>()[i * 1024], golden["logits"][i].get<double>(), 1e-3) << i;
  }
  c.adapter.init_from =
      test::saved(directory / "initial", model, {.base_model = "", .task = "causal_lm", .pooling = "", .labels = {}});
  train(c, {.quiet = true});
  expect_losses(golden);
}

}  // namespace
}  // namespace mora
