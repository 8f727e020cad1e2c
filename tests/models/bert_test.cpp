// MiniLM on packed batches against transformers (goldens/minilm.safetensors, f32).
#include <gtest/gtest.h>

#include <cmath>

#include "autograd/node.h"
#include "goldens/formula.h"
#include "loaders/safetensors.h"
#include "mora/models/registry.h"

namespace mora {
namespace {

const std::filesystem::path source = MORA_SOURCE_DIR;

struct MiniLm : ::testing::Test {
  static void SetUpTestSuite() {
    ASSERT_TRUE(std::filesystem::exists(source / ".cache/models/minilm")) << "run tools/fetch.sh first";
  }
  std::unique_ptr<Model> model = load_model(source / ".cache/models/minilm");
  SafetensorsFile golden = SafetensorsFile::open(source / "tests/goldens/minilm.safetensors");

  // All 200 texts as batches of 40, no padding anywhere; visit(first text, texts, sequences, hidden states).
  template <class Visit>
  void run(Visit visit) {
    const Tensor ids = golden.tensor("ids"), offsets = golden.tensor("offsets");
    const auto all = ids.values<int32_t>(), ends = offsets.values<int32_t>();
    const NoGrad no_grad;
    Context context;
    for (size_t first = 0; first + 1 < ends.size(); first += 40) {
      const size_t last = std::min(first + 40, ends.size() - 1);
      PackedBatch batch;
      batch.offsets.push_back(0);
      for (size_t t = first; t < last; ++t) {
        for (int32_t i = ends[t]; i < ends[t + 1]; ++i) {
          batch.ids.push_back(all[size_t(i)]);
          batch.positions.push_back(i - ends[t]);
        }
        batch.offsets.push_back(int32_t(batch.ids.size()));
        batch.rows.push_back(int64_t(t));
      }
      const Sequences sequences = to_sequences(batch);
      visit(int64_t(first), sequences, model->hidden_states(sequences, context), context);
    }
  }
};

double worst(std::span<const float> a, std::span<const float> b) {
  double difference = 0;
  for (size_t i = 0; i < a.size(); ++i) difference = std::max(difference, std::abs(double(a[i]) - double(b[i])));
  return difference;
}

TEST_F(MiniLm, EmbeddingsOf200TextsAgreeWithTransformers) {
  const Tensor mean = golden.tensor("mean"), cls = golden.tensor("cls");
  run([&](int64_t first, const Sequences& sequences, const Tensor& hidden, Context& context) {
    const int64_t d = hidden.dim(1), count = sequences.count();
    auto expected = [&](const Tensor& t) { return t.values<float>().subspan(size_t(first * d), size_t(count * d)); };
    EXPECT_LT(worst(model->pooled(sequences, Pooling::mean, context).values<float>(), expected(mean)), 1e-4);
    EXPECT_LT(worst(model->pooled(sequences, Pooling::cls, context).values<float>(), expected(cls)), 1e-4);
  });
}

TEST_F(MiniLm, EveryHiddenStateAgreesInProjection) {
  const Tensor projected = golden.tensor("projected");  // hidden·P, (tokens, 4)
  int64_t token = 0;
  run([&](int64_t, const Sequences&, const Tensor& hidden, Context&) {
    const auto h = hidden.values<float>();
    for (int64_t n = 0; n < hidden.dim(0); ++n, ++token) {
      for (int64_t j = 0; j < 4; ++j) {
        double sum = 0;
        for (int64_t i = 0; i < 384; ++i)
          sum += double(h[size_t(n * 384 + i)]) * goldens::formula_value("projection", uint64_t(i * 4 + j), 0.05);
        ASSERT_NEAR(sum, double(projected.values<float>()[size_t(token * 4 + j)]), 1e-4) << "token " << token;
      }
    }
  });
  EXPECT_EQ(token, projected.dim(0));
}

TEST_F(MiniLm, AnIdOutsideTheVocabularyIsAnError) {
  Context context;
  PackedBatch batch{.ids = {30522},
                    .positions = {0},
                    .type_ids = {},
                    .offsets = {0, 1},
                    .labels = {},
                    .token_labels = {},
                    .targets = {},
                    .rows = {0}};
  EXPECT_THROW(model->hidden_states(to_sequences(batch), context), ShapeError);
}

}  // namespace
}  // namespace mora
