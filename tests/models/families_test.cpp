// A small model of every family against transformers (goldens/models, written by goldens/write_model_goldens.py).
#include <gtest/gtest.h>

#include <cmath>

#include "autograd/ops/arithmetic.h"
#include "autograd/ops/matmul.h"
#include "autograd/ops/shape.h"
#include "loaders/model_files.h"
#include "loaders/temporary_directory.h"
#include "models/packed.h"
#include "mora/models/kv_cache.h"
#include "mora/models/registry.h"

namespace mora {
namespace {

const std::filesystem::path goldens = std::filesystem::path(MORA_SOURCE_DIR) / "tests/goldens/models";
constexpr double kTolerance = 1e-4;

std::string name_of_golden(const ::testing::TestParamInfo<const char*>& tested) { return tested.param; }

std::vector<int32_t> tokens(const SafetensorsFile& expected, int s) {
  const Tensor ids = expected.tensor(fmt::format("ids.{}", s));
  return {ids.values<int32_t>().begin(), ids.values<int32_t>().end()};
}

void expect_near(const Tensor& actual, const Tensor& expected, const std::string& what) {
  ASSERT_EQ(actual.shape(), expected.shape()) << what;
  const auto a = contiguous(actual), b = contiguous(expected);
  double worst = 0;
  for (size_t i = 0; i < size_t(a.numel()); ++i) {
    const double difference = std::abs(double(a.values<float>()[i]) - double(b.values<float>()[i]));
    worst = difference <= worst ? worst : difference;  // NaN counts
  }
  EXPECT_LE(worst, kTolerance) << what;
}

struct Family : ::testing::TestWithParam<const char*> {
  std::filesystem::path directory = goldens / GetParam();
  SafetensorsFile expected = SafetensorsFile::open(directory / "expected.safetensors");
  std::unique_ptr<Model> model = load_model(directory);
  Context context;
  NoGrad no_grad;
};

// What …ForSequenceClassification puts on the first token, from the directory's own weights.
Tensor class_logits(const Model& model, const std::filesystem::path& directory, const Sequences& sequences,
                    Context& context) {
  const auto weights = SafetensorsWeights::open(directory);
  const std::string head = weights->contains("classifier.weight") ? "classifier" : "classifier.out_proj";
  const Tensor pooled = model.pooled(sequences, Pooling::pooler, context);
  return matmul(pooled, cast(weights->load(head + ".weight"), DType::f32), false, true) +
         cast(weights->load(head + ".bias"), DType::f32);
}

TEST_P(Family, HiddenStatesAndLogitsAgreeWithTransformers) {
  const std::vector<std::vector<int32_t>> both{tokens(expected, 0), tokens(expected, 1)};
  const Sequences sequences = packed(both);
  const Tensor hidden = model->hidden_states(sequences, context);
  const Tensor logits =
      model->lm_head() ? linear(hidden, model->lm_head()) : class_logits(*model, directory, sequences, context);
  for (int64_t s = 0, begin = 0; s < 2; begin += int64_t(both[size_t(s++)].size())) {
    const int64_t count = int64_t(both[size_t(s)].size());
    expect_near(slice(hidden, 0, begin, count), expected.tensor(fmt::format("hidden.{}", s)), "hidden states");
    const Tensor golden = expected.tensor(fmt::format("logits.{}", s));
    const Tensor ours =
        model->lm_head() ? slice(logits, 0, begin, count) : reshape(slice(logits, 0, s, 1), golden.shape());
    expect_near(ours, golden, "logits");
  }
}

TEST_P(Family, LinearsAndEmbeddingsBearTheNamesOfTheFile) {
  const ModelFiles files = open_model_files(directory);
  int64_t seen = 0;
  auto in_file = [&](const std::string& path, LinearSlot& slot) {
    ++seen;
    ASSERT_TRUE(files.weights->contains(path + ".weight")) << path;
    EXPECT_EQ(files.weights->load(path + ".weight").numel(), slot->in() * slot->out()) << path;
  };
  model->visit_linears(in_file);
  EXPECT_EQ(seen % model->config().num_hidden_layers, 0);
  EXPECT_GT(seen, 0);
  model->visit_extra_linears(in_file);
  seen = 0;
  model->visit_embeddings(in_file);
  EXPECT_GT(seen, 0);
}

TEST_P(Family, PackedAheadTheHiddenStatesAreTheSame) {
  const Sequences sequences = packed({tokens(expected, 0)});
  const Tensor before = model->hidden_states(sequences, context);
  model->pack();
  const Tensor after = model->hidden_states(sequences, context);
  const auto a = before.values<float>(), b = after.values<float>();
  EXPECT_TRUE(std::equal(a.begin(), a.end(), b.begin(), b.end()));
}

INSTANTIATE_TEST_SUITE_P(Goldens, Family,
                         ::testing::Values("bert", "distilbert", "roberta", "gpt2", "llama", "llama_gqa_tied",
                                           "llama_linear", "llama_dynamic", "llama_llama3", "llama_yarn", "mistral",
                                           "qwen2", "qwen3"),
                         name_of_golden);

struct Decoder : Family {};

// 40 tokens in five steps beside 12 in two, which is then dropped; two steps are of one token alone.
TEST_P(Decoder, ACacheGivesTheHiddenStatesOfTheWholeSequence) {
  const std::vector<int32_t> longer = tokens(expected, 1), shorter = tokens(expected, 0);
  const Tensor golden = expected.tensor("hidden.1"), golden_short = expected.tensor("hidden.0");
  auto part = [](const std::vector<int32_t>& ids, int64_t begin, int64_t end) {
    return std::vector<int32_t>(ids.begin() + begin, ids.begin() + end);
  };
  KvCache cache(model->config().num_hidden_layers, 2);
  auto step = [&](Sequences sequences) {
    sequences.cache = &cache;
    return model->hidden_states(sequences, context);
  };
  const Tensor first = step(packed({part(shorter, 0, 7), part(longer, 0, 20)}));
  expect_near(slice(first, 0, 0, 7), slice(golden_short, 0, 0, 7), "first step, short");
  expect_near(slice(first, 0, 7, 20), slice(golden, 0, 0, 20), "first step, long");
  const Tensor second = step(packed({part(shorter, 7, 12), part(longer, 20, 21)}, {7, 20}));
  expect_near(slice(second, 0, 0, 5), slice(golden_short, 0, 7, 5), "second step, short");
  expect_near(slice(second, 0, 5, 1), slice(golden, 0, 20, 1), "second step, long");
  cache.keep({1});
  for (int64_t i : {21, 22})
    expect_near(step(packed({part(longer, i, i + 1)}, {int32_t(i)})), slice(golden, 0, i, 1), "one token");
  expect_near(step(packed({part(longer, 23, 40)}, {23})), slice(golden, 0, 23, 17), "last step");
}

// Not llama_dynamic: there the angles of all tokens depend on the sequence's final length.
INSTANTIATE_TEST_SUITE_P(Goldens, Decoder,
                         ::testing::Values("gpt2", "llama", "llama_gqa_tied", "llama_linear", "llama_llama3",
                                           "llama_yarn", "mistral", "qwen2", "qwen3"),
                         name_of_golden);

// The message of a golden model whose config.json has `from` replaced by `to`.
std::string error_with(const char* golden, const std::string& from, const std::string& to) {
  test::TemporaryDirectory copy;
  std::filesystem::copy(goldens / golden, copy.path());
  std::string config = test::read_bytes(copy / "config.json");
  EXPECT_NE(config.find(from), std::string::npos) << from;
  copy.write("config.json", config.replace(config.find(from), from.size(), to));
  return test::error_of<IoError>([&] { load_model(copy.path()); }).substr(copy.path().string().size() + 1);
}

TEST(Families, AConfigurationOfOtherSizesThanTheFileIsRefused) {
  EXPECT_TRUE(error_with("gpt2", "\"n_layer\": 2", "\"n_layer\": 1")
                  .starts_with("config.json: num_hidden_layers: 1, but model.safetensors has the tensor "
                               "'transformer.h.1."));
  EXPECT_EQ(error_with("bert", "\"vocab_size\": 80", "\"vocab_size\": 81"),
            "model.safetensors: tensor 'bert.embeddings.word_embeddings.weight' has shape (80, 64), the configuration "
            "asks for (81, 64)");
  EXPECT_EQ(error_with("bert", "\"intermediate_size\": 96", "\"intermediate_size\": 97"),
            "model.safetensors: tensor 'bert.encoder.layer.0.intermediate.dense.bias' has shape (96), the "
            "configuration asks for (97)");
  EXPECT_EQ(error_with("bert", "\"hidden_size\": 64", "\"hidden_size\": 68"),
            "model.safetensors: tensor 'bert.embeddings.word_embeddings.weight' has shape (80, 64), the configuration "
            "asks for (80, 68)");
  EXPECT_EQ(error_with("bert", "\"num_hidden_layers\": 2", "\"num_hidden_layers\": 3"),
            "model.safetensors: has no tensor 'bert.encoder.layer.2.attention.self.query.bias'");
}

TEST(Families, LearnedPositionsEndAndRotaryOnesDoNot) {
  EXPECT_EQ(load_model(goldens / "gpt2")->longest_sequence(), 64);
  EXPECT_EQ(load_model(goldens / "roberta")->longest_sequence(), 64);  // 66 rows, two before the first position
  EXPECT_GT(load_model(goldens / "llama_dynamic")->longest_sequence(), 1'000'000);

  Context context;
  const auto model = load_model(goldens / "roberta");
  const std::vector<int32_t> full(64, 5), beyond(65, 5);
  EXPECT_NO_THROW(model->hidden_states(packed({full}), context));
  EXPECT_THROW(model->hidden_states(packed({beyond}), context), ShapeError);
}

}  // namespace
}  // namespace mora
