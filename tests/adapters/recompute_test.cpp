// train.recompute in whole models: the same bits with less memory.
#include <gtest/gtest.h>

#include "adapters/adapted_model.h"
#include "autograd/ops/elementary.h"
#include "autograd/ops/reduce.h"
#include "engine/allocator.h"
#include "models/packed.h"

namespace mora {
namespace {

struct Pass {
  Tensors gradients;
  int64_t peak_bytes;  // above what was there before
};

Pass pass(MoRAModel& model, const Sequences& sequences, bool recompute) {
  const int64_t before = memory_stats().live_bytes;
  reset_peak_memory();
  Context context{.training = true, .recompute = recompute, .seed = 3, .epoch = 0, .step = 7, .losses = {}};
  Tensors leaves;
  model.visit_parameters([&](const std::string&, Tensor& value) { leaves.push_back(value); });
  const Tensor loss = mean(square(model.base().hidden_states(sequences, context)));
  return {grad(loss, leaves), memory_stats().peak_bytes - before};
}

struct Recompute : ::testing::TestWithParam<std::tuple<const char*, AdapterSpec::Kind>> {};

TEST_P(Recompute, GradientsAreTheSameBitsWithLessMemory) {
  const auto [family, kind] = GetParam();
  AdapterSpec spec;
  spec.kind = kind;
  spec.rank = 2;
  spec.dropout = 0.2;
  MoRAModel model = test::adapted_model(test::golden_models / family, spec);
  std::vector<std::vector<int32_t>> rows(6, std::vector<int32_t>(16));
  for (size_t i = 0; i < 96; ++i) rows[i / 16][i % 16] = int32_t(5 + i % 40);
  const Sequences sequences = packed(rows);
  pass(model, sequences, false);  // packs the weights
  const Pass kept = pass(model, sequences, false), again = pass(model, sequences, true);
  ASSERT_EQ(kept.gradients.size(), again.gradients.size());
  for (size_t i = 0; i < kept.gradients.size(); ++i) {
    const auto a = kept.gradients[i].values<float>(), b = again.gradients[i].values<float>();
    EXPECT_TRUE(std::equal(a.begin(), a.end(), b.begin(), b.end())) << "gradient " << i;
    EXPECT_TRUE(std::any_of(a.begin(), a.end(), [](float x) { return x != 0; })) << "gradient " << i;
  }
  EXPECT_LT(again.peak_bytes, kept.peak_bytes);
}

INSTANTIATE_TEST_SUITE_P(Models, Recompute,
                         ::testing::Combine(::testing::Values("bert", "distilbert", "gpt2", "llama_gqa_tied", "qwen3"),
                                            ::testing::Values(AdapterSpec::Kind::lora, AdapterSpec::Kind::mora)),
                         [](const auto& tested) {
                           return std::string(std::get<0>(tested.param)) + "_" +
                                  std::string(name_of(std::get<1>(tested.param)));
                         });

}  // namespace
}  // namespace mora
