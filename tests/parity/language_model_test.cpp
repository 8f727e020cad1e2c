// A language model in training: losses against PEFT, and packed documents against each alone. SmolLM2 on movie reviews.
#include <cmath>

#include "autograd/grad.h"
#include "parity/peft_run.h"

namespace mora {
namespace {

const std::string smollm2 = (test::source / ".cache/models/SmolLM2-135M-Instruct.Q4_1.gguf").string();

struct LanguageModelTest : test::PeftRun {
  Config text_config(const std::string& more) const {
    return parse_config("model: " + smollm2 + "\ntask: causal_lm\ndata: {train: " + test::reviews +
                            ", text: text, max_length: 128, shuffle: false}\nout: " + (directory / "run").string() +
                            "\n" + more,
                        "test.yaml");
  }

  // The goldens' initial values (goldens/formula.h): lora_B is zero.
  std::string initial_adapter() const {
    MoRAModel model(load_model(smollm2));
    AdapterSpec spec;
    spec.kind = AdapterSpec::Kind::lora;
    model.add_adapters(spec, "all-linear", 0);
    model.visit_parameters([](const std::string& name, Tensor& value) {
      const double bound = name.ends_with("lora_A") ? 1 / std::sqrt(double(value.dim(1))) : 0;
      test::set_by_formula(value, "base_model.model." + name + ".weight", bound);
    });
    return test::saved(directory / "initial", model,
                       {.base_model = smollm2, .task = "causal_lm", .pooling = "", .labels = {}})
        .string();
  }
};

TEST_F(LanguageModelTest, TwentyLossesAgreeWithPeft) {
  const nlohmann::json golden = read_json(test::source / "tests/goldens/peft_smollm2.json");
  train(
      text_config("adapter: {kind: lora, init_from: " + initial_adapter() +
                  "}\noptimizer: {lr: 2e-4, weight_decay: 0.01}\nschedule: {kind: constant}\n"
                  "train: {steps: 20, epochs: null, batch_size: 8, clip: null, eval_every: null, save_every: null}\n"),
      {.quiet = true});
  const auto lines = metrics("run");
  ASSERT_EQ(lines.size(), golden["losses"].size());
  expect_curves(lines, golden);
  int64_t tokens = 0;
  for (size_t i = 0; i < lines.size(); ++i) {
    tokens += golden["tokens"][i].get<int64_t>();
    EXPECT_EQ(lines[i]["tokens"].get<int64_t>(), tokens) << "update " << i;
  }
}

// Attention stays inside a document and positions start again: a batch's gradient is the sum of its documents'.
TEST_F(LanguageModelTest, PackedDocumentsGiveTheGradientOfEachAlone) {
  const Config config = text_config("adapter: {kind: lora, rank: 4}\n");
  const TrainingSetup setup = set_up(config);
  Tensors leaves;
  setup.model->visit_parameters([&](const std::string& name, Tensor& value) {
    if (name.ends_with("lora_B")) test::set_by_formula(value, name, 0.02);
    leaves.push_back(value);
  });
  auto gradient_of = [&](std::span<const int64_t> rows) {
    Context context;
    context.training = true;
    return grad(setup.objective.total(*setup.model, setup.tasks[0].train.batch(rows), context), leaves);
  };
  const std::array<int64_t, 4> rows{3, 11, 20, 42};
  const Tensors packed = gradient_of(rows);
  std::vector<std::vector<double>> alone;
  for (const Tensor& g : packed) alone.emplace_back(size_t(g.numel()));
  for (const int64_t& row : rows) {
    const Tensors one = gradient_of(std::span(&row, 1));
    for (size_t i = 0; i < one.size(); ++i)
      for (size_t j = 0; j < alone[i].size(); ++j) alone[i][j] += double(one[i].values<float>()[j]);
  }
  double difference = 0, norm = 0;  // of all parameters together
  for (size_t i = 0; i < packed.size(); ++i) {
    for (size_t j = 0; j < alone[i].size(); ++j) {
      difference += std::pow(double(packed[i].values<float>()[j]) - alone[i][j], 2);
      norm += alone[i][j] * alone[i][j];
    }
  }
  EXPECT_LT(std::sqrt(difference / norm), 1e-5);
}

}  // namespace
}  // namespace mora
