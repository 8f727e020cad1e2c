// Rows of several adapters in one batch against each adapter on a model of its own.
#include "mora/multi_adapter_model.h"

#include <gtest/gtest.h>

#include "adapters/adapted_model.h"
#include "loaders/temporary_directory.h"
#include "models/packed.h"

namespace mora {
namespace {

using Kind = AdapterSpec::Kind;

double largest_difference(std::span<const float> a, std::span<const float> b) {
  double largest = 0;
  for (size_t i = 0; i < a.size(); ++i) largest = std::max(largest, std::abs(double(a[i]) - double(b[i])));
  return largest;
}

struct MultiAdapter : ::testing::Test {
  test::TemporaryDirectory directory;
  const std::filesystem::path source = test::golden_models / "llama";
  const std::vector<AdapterSpec> specs = {
      {.kind = Kind::mora, .rank = 4},
      {.kind = Kind::lora, .rank = 2},
      {.kind = Kind::dora, .rank = 2},
      {.kind = Kind::lora, .rank = 2, .init = AdapterSpec::Init::pissa},  // folds into a working weight
      {.kind = Kind::adalora, .rank = 3}};

  // The adapter number `i` (from 1) on disk; that of the last spec sits on two modules a block alone.
  std::filesystem::path saved(size_t i) const {
    const std::filesystem::path path = directory / std::to_string(i);
    if (std::filesystem::exists(path)) return path;
    MoRAModel model(load_model(source));
    model.add_adapters(
        specs[i - 1],
        i == specs.size() ? Targets(std::vector<std::string>{"q_proj", "down_proj"}) : Targets("all-linear"), i);
    test::randomize(model);
    return test::saved(path, model, {.base_model = "", .task = "", .pooling = "", .labels = {}});
  }

  Tensor alone(size_t adapter, const std::vector<int32_t>& ids) const {
    MoRAModel model(load_model(source));
    if (adapter > 0) load_adapter(saved(adapter), model);
    Context context;
    return model.base().hidden_states(packed({ids}), context);
  }
};

TEST_F(MultiAdapter, EachRowGoesByItsOwnAdapter) {
  const NoGrad no_grad;
  MultiAdapterModel model(load_model(source));
  for (size_t i = 1; i <= specs.size(); ++i) EXPECT_EQ(model.load(saved(i)), i);
  std::vector<std::vector<int32_t>> texts;
  Context context;
  int64_t rows = 0;
  for (size_t adapter : {3, 0, 1, 5, 2, 4}) {
    texts.push_back({});
    for (int32_t t = 0; t < 4 + int32_t(adapter); ++t) texts.back().push_back(5 + 3 * t + int32_t(adapter));
    context.adapter_rows.push_back({adapter, rows, rows + std::ssize(texts.back())});
    rows = context.adapter_rows.back().end;
  }
  const Tensor together = model.base().hidden_states(packed(texts), context);  // (N, d)
  const Tensor without = alone(0, texts[0]);
  for (size_t i = 0; i < texts.size(); ++i) {
    const AdapterRows& part = context.adapter_rows[i];
    const Tensor expected = alone(part.adapter, texts[i]);
    const auto got = together.values<float>().subspan(size_t(part.begin * together.dim(1)), size_t(expected.numel()));
    EXPECT_LT(largest_difference(got, expected.values<float>()), 2e-5) << "adapter " << part.adapter;
    Context one;
    one.adapter_rows = {{.adapter = part.adapter}};  // one entry holds for all rows
    EXPECT_LT(largest_difference(model.base().hidden_states(packed({texts[i]}), one).values<float>(),
                                 expected.values<float>()),
              2e-5);
  }
  EXPECT_GT(largest_difference(together.values<float>().first(size_t(without.numel())), without.values<float>()), 1e-2);
}

TEST_F(MultiAdapter, AnAdapterOfAnotherModelIsAnError) {
  MultiAdapterModel model(load_model(test::golden_models / "gpt2"));
  EXPECT_THROW(model.load(saved(1)), ConfigError);
}

}  // namespace
}  // namespace mora
