// SmolLM2-135M-Instruct out of its Q4_1 GGUF against transformers on the same dequantised weights
// (goldens/smollm2.safetensors, f32): 20 texts of 1 to 512 tokens.
#include <gtest/gtest.h>

#include <cmath>

#include "autograd/ops/embedding.h"
#include "autograd/ops/matmul.h"
#include "loaders/safetensors.h"
#include "models/packed.h"
#include "mora/models/registry.h"

namespace mora {
namespace {

const std::filesystem::path source = MORA_SOURCE_DIR;
constexpr double kTolerance = 2e-3;
constexpr int kTexts = 20;

double logsumexp(std::span<const float> logits) {
  double largest = -INFINITY, sum = 0;
  for (float x : logits) largest = std::max(largest, double(x));
  for (float x : logits) sum += std::exp(double(x) - largest);
  return largest + std::log(sum);
}

TEST(SmolLm2, LogitsOf20TextsAgreeWithTransformers) {
  const auto file = source / ".cache/models/SmolLM2-135M-Instruct.Q4_1.gguf";
  ASSERT_TRUE(std::filesystem::exists(file)) << "run tools/fetch.sh first";
  const auto model = load_model(file);
  const SafetensorsFile golden = SafetensorsFile::open(source / "tests/goldens/smollm2.safetensors");
  const auto vocabulary = size_t(model->config().vocab_size);
  const Tensor fixed = golden.tensor("fixed");
  const NoGrad no_grad;
  Context context;
  for (int k = 0; k < kTexts; ++k) {
    auto of_text = [&](const char* name) { return golden.tensor(fmt::format("{}.{}", name, k)); };
    const Tensor ids = of_text("ids"), positions = of_text("positions"), sums = of_text("logsumexp");
    const Tensor top_ids = of_text("top_ids"), top = of_text("top"), at_fixed = of_text("at_fixed");
    const std::vector<int32_t> text(ids.values<int32_t>().begin(), ids.values<int32_t>().end());
    const Tensor hidden = model->hidden_states(packed({text}), context);
    const Tensor logits = linear(gather_rows(hidden, positions), model->lm_head());  // (8, V)
    for (size_t p = 0; p < size_t(positions.numel()); ++p) {
      const auto row = logits.values<float>().subspan(p * vocabulary, vocabulary);
      auto expect_at = [&](const Tensor& at, size_t first_id, const Tensor& expected) {
        const size_t count = size_t(expected.dim(1));
        for (size_t j = 0; j < count; ++j)
          ASSERT_NEAR(double(row[size_t(at.values<int32_t>()[first_id + j])]),
                      double(expected.values<float>()[p * count + j]), kTolerance)
              << "text " << k << ", position " << positions.values<int32_t>()[p];
      };
      expect_at(top_ids, p * size_t(top_ids.dim(1)), top);
      expect_at(fixed, 0, at_fixed);
      EXPECT_NEAR(logsumexp(row), double(sums.values<float>()[size_t(positions.values<int32_t>()[p])]), kTolerance)
          << "text " << k;
    }
  }
}

}  // namespace
}  // namespace mora
