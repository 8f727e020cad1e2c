// Exported adapters, read back.
#include "mora/export.h"

#include <gtest/gtest.h>

#include "adapters/adapted_model.h"
#include "autograd/ops/arithmetic.h"
#include "autograd/ops/matmul.h"
#include "autograd/ops/shape.h"
#include "loaders/gguf_model.h"
#include "loaders/peft.h"
#include "loaders/temporary_directory.h"
#include "mora/adapters/lora.h"
#include "mora/adapters/mora.h"

namespace mora {
namespace {

using kernels::OperatorKind;
using test::error_of;

double worst(const Tensor& a, const Tensor& b) {
  const Tensor difference = contiguous(cast(a, DType::f64) - cast(b, DType::f64));
  double most = 0;
  for (double v : difference.values<double>()) most = std::max(most, std::abs(v));
  return most;
}

// Rows of B as llama.cpp's base has them, back in Hugging Face's order.
Tensor split_rows(const Tensor& b, int64_t heads) {
  const std::vector<int64_t> order = split_row_order(b.dim(0), heads);
  Tensor rows = Tensor::empty(b.shape());
  for (int64_t i = 0; i < b.dim(0); ++i)
    std::copy_n(b.data<float>() + order[size_t(i)] * b.dim(1), b.dim(1), rows.mutable_data<float>() + i * b.dim(1));
  return rows;
}

struct ExportTest : ::testing::Test {
  test::TemporaryDirectory directory;
  std::filesystem::path llama = test::golden_models / "llama_gqa_tied";
};

TEST_F(ExportTest, GgufHoldsTheUpdateOfEachModule) {
  for (const OperatorKind op : {OperatorKind::sharing, OperatorKind::group, OperatorKind::truncation}) {
    MoRAModel model = test::adapted_model(llama, {.kind = AdapterSpec::Kind::mora, .rank = 2, .op = op});
    const HfConfig& config = model.base().config();
    save_gguf_lora(directory / "lora.gguf", model);
    const GgufFile file = GgufFile::open(directory / "lora.gguf");
    EXPECT_EQ(file.tensors().size(), 2 * model.adapted().size());
    const double alpha = file.number("adapter.lora.alpha");
    for (const auto& [path, linear] : model.adapted()) {
      const std::string name = gguf_name("llama", path + ".weight");
      const Tensor a = file.tensor(*file.find(name + ".lora_a"), DType::f32);
      Tensor b = file.tensor(*file.find(name + ".lora_b"), DType::f32);
      if (path.ends_with("q_proj")) b = split_rows(b, config.num_attention_heads);
      if (path.ends_with("k_proj")) b = split_rows(b, config.num_key_value_heads);
      const double scale = alpha / double(a.dim(0));
      const Tensor delta = matmul(cast(b, DType::f64), cast(a, DType::f64)) * scale;
      EXPECT_LT(worst(delta, linear->layer().merged()), 1e-6) << path << " " << name_of(op);
    }
  }
}

TEST_F(ExportTest, OneAlphaForAllModulesIsExactOnlyWhereTheirScalesAgree) {
  const AdapterSpec spec{.kind = AdapterSpec::Kind::lora, .rank = 4, .alpha = 6};
  MoRAModel one = test::adapted_model(llama, spec);
  EXPECT_TRUE(save_gguf_lora(directory / "one.gguf", one));
  EXPECT_EQ(GgufFile::open(directory / "one.gguf").number("adapter.lora.alpha"), 6);

  MoRAModel two(load_model(llama));
  uint64_t index = 0;
  for (const auto& [path, linear] : one.adapted()) {
    AdapterSpec other = spec;
    other.alpha = ++index == 2 ? 7 : 6;
    two.attach(path, std::make_unique<LoRA>(other, linear->in(), linear->out(), 1, index));
  }
  EXPECT_FALSE(save_gguf_lora(directory / "two.gguf", two));
}

TEST_F(ExportTest, PeftHoldsALowRankMoRAWithoutLoss) {
  MoRAModel model = test::adapted_model(llama, {.kind = AdapterSpec::Kind::mora, .rank = 2, .op = OperatorKind::group});
  save_peft(directory.path(), model, {.base_model = "base", .task = "causal_lm", .pooling = "", .labels = {}});
  EXPECT_EQ(read_peft(directory.path()).config.task_type, "CAUSAL_LM");
  EXPECT_EQ(read_adapter_info(directory.path()).base_model, "base");
  MoRAModel loaded(load_model(llama));
  load_adapter(directory.path(), loaded);
  ASSERT_EQ(loaded.adapted().size(), model.adapted().size());
  for (const auto& [path, linear] : model.adapted())
    EXPECT_LT(worst(linear->layer().merged(), loaded.adapted().at(path)->layer().merged()), 1e-12) << path;
}

TEST_F(ExportTest, EachKindThatPeftHoldsComesBack) {
  using Kind = AdapterSpec::Kind;
  using Init = AdapterSpec::Init;
  const AdapterSpec specs[] = {{.kind = Kind::lora, .rank = 3},
                               {.kind = Kind::lora, .rank = 3, .rank_stabilized = true},
                               {.kind = Kind::lora, .rank = 3, .init = Init::pissa},
                               {.kind = Kind::lora, .rank = 3, .rank_stabilized = true, .init = Init::pissa},
                               {.kind = Kind::lora, .rank = 3, .init = Init::olora},
                               {.kind = Kind::dora, .rank = 3},
                               {.kind = Kind::adalora, .rank = 3},
                               {.kind = Kind::mora, .rank = 2, .op = OperatorKind::sharing_group}};
  for (const AdapterSpec& spec : specs) {
    MoRAModel model = test::adapted_model(llama, spec);
    if (spec.kind == Kind::mora) {  // with a history
      for (const auto& [path, linear] : model.adapted())
        dynamic_cast<MoRA&>(linear->layer()).fold(OperatorKind::truncation, 1);
      test::randomize(model);
    }
    const test::TemporaryDirectory peft;
    save_peft(peft.path(), model, {.base_model = "", .task = "causal_lm", .pooling = "", .labels = {}});
    MoRAModel loaded(load_model(llama));
    load_adapter(peft.path(), loaded);
    ASSERT_EQ(loaded.adapted().size(), model.adapted().size());
    for (const auto& [path, linear] : model.adapted())
      EXPECT_LT(worst(linear->layer().merged(), loaded.adapted().at(path)->layer().merged()), 1e-6)
          << path << " " << name_of(spec.kind);
  }
}

TEST_F(ExportTest, APeftAdapterThatTookItsStartFromTheWeightTakesItAgain) {
  using Init = AdapterSpec::Init;
  for (const Init init : {Init::olora, Init::pissa}) {
    MoRAModel model(load_model(llama));
    model.add_adapters({.kind = AdapterSpec::Kind::lora, .rank = 2, .init = init}, "all-linear", 1);
    PeftAdapter adapter;  // as PEFT saves it without conversion: A and B alone, on W − s·B₀·A₀
    adapter.config.task_type = "CAUSAL_LM";
    adapter.config.r = 2;
    adapter.config.lora_alpha = 16;
    adapter.config.init_lora_weights = init == Init::olora ? "olora" : "pissa";
    for (const auto& [path, linear] : model.adapted()) {
      adapter.config.target_modules.push_back(path);
      PeftModule& module = adapter.modules[path];
      linear->layer().visit_parameters([&](const std::string& name, Tensor& t) {
        float* values = t.mutable_data<float>();
        for (int64_t i = 0; i < t.numel(); ++i) values[i] += 0.01F * float(i % 7);
        (name == "lora_A" ? module.a : module.b) = t.detach();
      });
    }
    write_peft(directory.path(), adapter);
    MoRAModel loaded(load_model(llama));
    load_adapter(directory.path(), loaded);
    for (const auto& [path, linear] : model.adapted())
      EXPECT_LT(worst(linear->layer().merged(), loaded.adapted().at(path)->layer().merged()), 1e-4) << path;
  }
}

TEST_F(ExportTest, WithoutItsHeadAnEncoderIsPeftsBareModel) {
  const auto bert = test::golden_models / "bert";
  MoRAModel model = test::adapted_model(bert, {.kind = AdapterSpec::Kind::lora, .rank = 2});
  model.set_head(Pooling::mean, Classifier::fresh(2, model.base().config().hidden_size, 1));
  const AdapterInfo info{.base_model = "", .task = "classification", .pooling = "mean", .labels = {}};
  const std::string refusal = error_of<ConfigError>([&] { save_peft(directory.path(), model, info); });
  EXPECT_NE(refusal.find("export --without-head, or merge"), std::string::npos) << refusal;
  save_peft(directory.path(), model, info, false);
  const PeftAdapter adapter = read_peft(directory.path());
  EXPECT_EQ(adapter.config.task_type, "FEATURE_EXTRACTION");
  EXPECT_TRUE(adapter.saved.empty());
  EXPECT_TRUE(adapter.modules.begin()->first.starts_with("encoder.layer.")) << adapter.modules.begin()->first;
}

TEST_F(ExportTest, WhatIsNoLoRAIsRefusedWithTheReason) {
  for (const OperatorKind op : {OperatorKind::rotation, OperatorKind::decouple}) {
    MoRAModel model = test::adapted_model(llama, {.kind = AdapterSpec::Kind::mora, .rank = 2, .op = op});
    const std::string message = error_of<ConfigError>([&] { save_gguf_lora(directory / "lora.gguf", model); });
    EXPECT_NE(message.find("is not a low-rank update: merge it"), std::string::npos) << message;
    EXPECT_FALSE(std::filesystem::exists(directory / "lora.gguf"));
  }
}

}  // namespace
}  // namespace mora
