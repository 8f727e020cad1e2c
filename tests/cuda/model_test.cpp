// A small model of every family on the emulated device: hidden states, logits and generated tokens as the processor's.
#include "autograd/ops/matmul.h"
#include "autograd/ops/shape.h"
#include "cuda/twin.h"
#include "models/packed.h"
#include "mora/generation/generate.h"
#include "mora/models/registry.h"

namespace mora::test {
namespace {

struct FamilyOnDevice : testing::TestWithParam<const char*> {
  const std::filesystem::path directory = std::filesystem::path(MORA_SOURCE_DIR) / "tests/goldens/models" / GetParam();
  std::unique_ptr<Model> here = load_model(directory), there = load_model(directory);
  Context context;
  const NoGrad no_grad;
  FamilyOnDevice() { there->to(device); }
};
struct DecoderOnDevice : FamilyOnDevice {};

const auto name_of_family = [](const auto& family) { return std::string(family.param); };
constexpr const char *encoders[] = {"bert", "distilbert", "roberta"},
                     *decoders[] = {"gpt2",         "llama",   "llama_dynamic", "llama_gqa_tied",
                                    "llama_llama3", "mistral", "qwen2",         "qwen3"};
INSTANTIATE_TEST_SUITE_P(Encoders, FamilyOnDevice, testing::ValuesIn(encoders), name_of_family);
INSTANTIATE_TEST_SUITE_P(Decoders, FamilyOnDevice, testing::ValuesIn(decoders), name_of_family);
INSTANTIATE_TEST_SUITE_P(Decoders, DecoderOnDevice, testing::ValuesIn(decoders), name_of_family);

void expect_near(const Tensor& there, const Tensor& here, const std::string& what) {
  EXPECT_EQ(there.device(), device) << what;
  const Tensor a = contiguous(there.to(cpu)), b = contiguous(here);
  ASSERT_EQ(a.shape(), b.shape()) << what;
  for (int64_t i = 0; i < b.numel(); ++i)
    ASSERT_NEAR(a.data<float>()[i], b.data<float>()[i], 1e-3 * (1 + std::abs(b.data<float>()[i]))) << what << " " << i;
}

TEST_P(FamilyOnDevice, ForwardIsAsOnTheProcessor) {
  const Sequences sequences = packed({{5, 17, 42, 9, 33, 70, 2}, {11}, {60, 61, 62, 63}});
  const Tensor hidden = here->hidden_states(sequences, context),
               hidden_there = there->hidden_states(sequences, context);
  expect_near(hidden_there, hidden, "hidden states");
  if (here->lm_head()) expect_near(linear(hidden_there, there->lm_head()), linear(hidden, here->lm_head()), "logits");
  for (const Pooling pooling : {Pooling::pooler, Pooling::cls, Pooling::mean})
    if (pooling != Pooling::pooler || here->has_pooler())
      expect_near(there->pooled(sequences, pooling, context), here->pooled(sequences, pooling, context),
                  std::string(name_of(pooling)));
}

// The cache's tokens too: a prompt, then token by token, two sequences together.
TEST_P(DecoderOnDevice, GeneratesTheTokensThatTheProcessorDoes) {
  const std::vector<std::vector<int32_t>> prompts{{5, 17, 42, 9}, {11, 70}};
  const GenerationOptions options{.max_tokens = 6, .stop_tokens = {}, .sampling = {}};
  const auto ignore = [](size_t, int32_t) {};
  EXPECT_EQ(generate(*there, prompts, options, ignore).ids, generate(*here, prompts, options, ignore).ids);
}

TEST(ModelOnDevice, WhatItsWeightsHaveNoRowForIsRefused) {
  const auto model = load_model(std::filesystem::path(MORA_SOURCE_DIR) / "tests/goldens/models/bert");
  model->to(device);
  Context context;
  EXPECT_THROW(model->hidden_states(packed({{80}}), context), ShapeError);
  EXPECT_THROW(model->hidden_states(packed({std::vector<int32_t>(65, 4)}), context), ShapeError);
}

}  // namespace
}  // namespace mora::test
