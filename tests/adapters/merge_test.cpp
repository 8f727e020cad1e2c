// Merged directories against the adapters they were made of.
#include "mora/merge.h"

#include <gtest/gtest.h>

#include "adapters/adapted_model.h"
#include "autograd/ops/shape.h"
#include "loaders/model_weights.h"
#include "loaders/temporary_directory.h"
#include "mora/model_head.h"

namespace mora {
namespace {

namespace fs = std::filesystem;
using test::error_of;
using test::read_bytes;

struct MergeTest : ::testing::Test {
  test::TemporaryDirectory directory;
  fs::path out = directory / "merged";

  fs::path adapter(const fs::path& model_directory, const AdapterSpec& spec) const {
    MoRAModel model = test::adapted_model(model_directory, spec);
    return test::saved(directory / "adapter", model, {.base_model = "", .task = "", .pooling = "", .labels = {}});
  }

  // A copy of a golden model with its floating weights in `dtype`.
  fs::path in_dtype(const std::string& name, DType dtype) const {
    const auto weights = SafetensorsWeights::open(test::golden_models / name);
    std::map<std::string, Tensor> converted;
    for (const std::string& weight : weights->names()) converted[weight] = cast(weights->load(weight), dtype);
    fs::create_directory(directory / "source");
    fs::copy_file(test::golden_models / name / "config.json", directory / "source" / "config.json");
    write_safetensors(directory / "source" / "model.safetensors", converted);
    return directory / "source";
  }
};

TEST_F(MergeTest, EveryFamilyMergesToWhatItsAdapterComputes) {
  for (const auto& entry : fs::directory_iterator(test::golden_models)) {
    using enum AdapterSpec::Kind;
    const AdapterSpec::Kind kinds[] = {mora, lora, dora, adalora};
    const AdapterSpec::Kind kind = kinds[entry.path().filename().string().size() % 4];
    const fs::path source = in_dtype(entry.path().filename().string(), DType::f32);
    const fs::path from = adapter(source, {.kind = kind, .rank = 4});
    const MergeResult result = merge_adapter({.model = source, .adapter = from, .out = out});
    EXPECT_LT(result.max_abs_error, 1e-4) << entry.path();
    EXPECT_GT(result.merged, 0) << entry.path();
    const auto weights = SafetensorsWeights::open(source), merged = SafetensorsWeights::open(out);
    EXPECT_EQ(merged->names(), weights->names()) << entry.path();
    int64_t changed = 0;
    for (const std::string& name : weights->names())
      changed += !std::ranges::equal(weights->load(name).values<float>(), merged->load(name).values<float>());
    EXPECT_EQ(changed, result.merged) << entry.path();
    EXPECT_EQ(read_bytes(out / "config.json"), read_bytes(source / "config.json"));
    fs::remove_all(out);
    fs::remove_all(from);
    fs::remove_all(source);
  }
}

TEST_F(MergeTest, AModuleTrainedWholeTakesTheModelsPlaceWithItsBias) {
  const fs::path source = in_dtype("bert", DType::f32);
  MoRAModel model(load_model(source));
  model.train_whole({"intermediate.dense"});
  test::randomize(model);
  const fs::path from = test::saved(directory / "adapter", model, {});
  EXPECT_LT(merge_adapter({.model = source, .adapter = from, .out = out}).max_abs_error, 1e-5);
  const auto& [path, linear] = *model.adapted().begin();
  EXPECT_TRUE(std::ranges::equal(SafetensorsWeights::open(out)->load(path + ".bias").values<float>(),
                                 linear->layer().merged_bias().values<float>()));
}

TEST_F(MergeTest, TheSumIsRoundedOnceToTheFilesDtype) {
  const fs::path source = in_dtype("llama_gqa_tied", DType::bf16);
  const fs::path from = adapter(source, {.kind = AdapterSpec::Kind::lora, .rank = 2});
  merge_adapter({.model = source, .adapter = from, .out = out});
  const auto before = SafetensorsWeights::open(source), after = SafetensorsWeights::open(out);
  MoRAModel model(load_model(source));
  load_adapter(from, model);
  for (const auto& [path, linear] : model.adapted()) {
    const Tensor w = before->load(path + ".weight"), merged = after->load(path + ".weight");
    const Tensor delta = linear->layer().merged();
    ASSERT_EQ(merged.dtype(), DType::bf16);
    for (int64_t i = 0; i < w.numel(); ++i) {
      const double exact = double(float(w.data<bf16_t>()[i])) + delta.data<double>()[i];
      const double rounded = double(float(merged.data<bf16_t>()[i]));
      // No bf16 value is nearer.
      EXPECT_LE(std::abs(rounded - exact), std::ldexp(1.0, std::ilogb(exact) - 8)) << path << " " << i;
    }
  }
}

TEST_F(MergeTest, RoundingToOddKeepsTheSideOfATie) {
  const double above_tie = 1 + std::ldexp(1.0, -8) + std::ldexp(1.0, -40);  // between 1 and the bf16 after it
  EXPECT_EQ(float(bf16_t(float(above_tie))), 1.0f);                         // rounded twice
  EXPECT_EQ(float(bf16_t(round_to_odd(above_tie))), 1.0f + 0x1p-7f);
  EXPECT_EQ(float(bf16_t(round_to_odd(-above_tie))), -1.0f - 0x1p-7f);
  EXPECT_EQ(float(bf16_t(round_to_odd(1 + std::ldexp(1.0, -8) - std::ldexp(1.0, -40)))), 1.0f);
  for (double exact : {0.0, 1.0, -3.5, 0x1p-130, 1e300}) EXPECT_EQ(round_to_odd(exact), float(exact));
}

TEST_F(MergeTest, ShardsStayUnderTheirSize) {
  const fs::path model = in_dtype("qwen2", DType::f32);
  const fs::path from = adapter(model, {.kind = AdapterSpec::Kind::mora, .rank = 2});
  const MergeResult result = merge_adapter({.model = model, .adapter = from, .out = out, .shard_bytes = 20'000});
  EXPECT_LT(result.max_abs_error, 1e-4);
  const auto weights = SafetensorsWeights::open(out);
  EXPECT_GT(weights->files().size(), 1U);
  for (const SafetensorsFile& file : weights->files()) {
    size_t bytes = 0;
    for (const TensorInfo& t : file.tensors()) bytes += t.bytes();
    EXPECT_TRUE(bytes <= 20'000 || file.tensors().size() == 1) << file.path();
  }
}

TEST_F(MergeTest, FilesWithoutWeightsAreCopiedAndOthersAreNot) {
  const fs::path source = in_dtype("bert", DType::f16);
  fs::create_directories(source / "1_Pooling");
  fs::create_directories(source / ".git");
  for (const char* name : {"vocab.txt", "1_Pooling/notes.json", ".git/HEAD", "model.onnx", "pytorch_model.bin"})
    std::ofstream(source / name) << name;
  fs::create_symlink(source / "vocab.txt", source / "link.txt");
  merge_adapter({.model = source, .adapter = {}, .out = out});
  EXPECT_EQ(read_bytes(out / "vocab.txt"), "vocab.txt");
  EXPECT_EQ(read_bytes(out / "1_Pooling/notes.json"), "1_Pooling/notes.json");
  EXPECT_FALSE(fs::is_symlink(out / "link.txt"));
  EXPECT_EQ(read_bytes(out / "link.txt"), "vocab.txt");
  for (const char* name : {".git", "model.onnx", "pytorch_model.bin"}) EXPECT_FALSE(fs::exists(out / name)) << name;
  EXPECT_EQ(SafetensorsWeights::open(out)->meta("bert.pooler.dense.bias").dtype, DType::f16);
}

TEST_F(MergeTest, ATrainedHeadBecomesTheHeadOfTheClass) {
  for (const char* family : {"bert", "distilbert", "roberta"}) {
    const fs::path source = in_dtype(family, DType::f32);
    MoRAModel model = test::adapted_model(source, {.kind = AdapterSpec::Kind::lora, .rank = 2});
    model.set_head(Pooling::pooler, Classifier::fresh(4, model.base().config().hidden_size, 1));
    test::randomize(model);
    const fs::path from =
        test::saved(directory / "adapter", model,
                    {.base_model = "", .task = "classification", .pooling = "pooler", .labels = {"a", "b", "c", "d"}});
    const MergeResult result = merge_adapter({.model = source, .adapter = from, .out = out});
    EXPECT_LT(result.max_abs_error, 1e-4) << family;
    EXPECT_TRUE(result.notes.empty());
    const auto merged = load_model(out);
    EXPECT_EQ(merged->config().labels, (std::vector<std::string>{"a", "b", "c", "d"}));
    EXPECT_TRUE(merged->config().architectures.front().ends_with("ForSequenceClassification"));
    const auto head = read_model_head(out, *merged);
    ASSERT_TRUE(head.has_value());
    EXPECT_EQ(head->pooling, Pooling::pooler);
    EXPECT_TRUE(
        std::ranges::equal(head->classifier.weight.values<float>(), model.classifier()->weight.values<float>()));
    fs::remove_all(out);
    fs::remove_all(from);
    fs::remove_all(source);
  }
}

TEST_F(MergeTest, ABareEncoderWithAMeanPooledHeadGetsItsPrefixAndANote) {
  const fs::path source = fs::path(MORA_SOURCE_DIR) / ".cache/models/minilm";
  ASSERT_TRUE(fs::exists(source)) << "run tools/fetch.sh first";
  MoRAModel model = test::adapted_model(source, {.kind = AdapterSpec::Kind::lora, .rank = 2});
  model.set_head(Pooling::mean, Classifier::fresh(1, 384, 1));
  const fs::path from = test::saved(directory / "adapter", model,
                                    {.base_model = "", .task = "regression", .pooling = "mean", .labels = {}});
  const MergeResult result = merge_adapter({.model = source, .adapter = from, .out = out});
  EXPECT_LT(result.max_abs_error, 1e-4);
  ASSERT_EQ(result.notes.size(), 1U);
  const auto weights = SafetensorsWeights::open(out);
  EXPECT_TRUE(weights->contains("bert.encoder.layer.0.output.dense.weight"));
  EXPECT_TRUE(weights->contains("classifier.bias"));
  EXPECT_EQ(load_model(out)->config().problem_type, "regression");
  EXPECT_EQ(read_model_head(out, *load_model(out))->pooling, Pooling::mean);
}

TEST_F(MergeTest, AGgufBecomesADirectoryOfTheSameModel) {
  const fs::path source = fs::path(MORA_SOURCE_DIR) / ".cache/models/SmolLM2-135M-Instruct.Q4_1.gguf";
  ASSERT_TRUE(fs::exists(source)) << "run tools/fetch.sh first";
  EXPECT_EQ(merge_adapter({.model = source, .adapter = {}, .out = out, .gguf_dtype = DType::f32}).max_abs_error, 0);
  for (const char* name : {"generation_config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"})
    EXPECT_TRUE(fs::exists(out / name)) << name;
  EXPECT_EQ(load_model(out)->config().eos_token_ids, load_model(source)->config().eos_token_ids);
}

TEST_F(MergeTest, WhatCannotBeMergedLeavesNothingBehind) {
  const fs::path source = test::golden_models / "llama";
  MoRAModel model = test::adapted_model(source, {.kind = AdapterSpec::Kind::lora, .rank = 2});
  model.set_head(Pooling::mean, Classifier::fresh(2, model.base().config().hidden_size, 1));
  const fs::path from = test::saved(directory / "adapter", model,
                                    {.base_model = "", .task = "classification", .pooling = "mean", .labels = {}});
  const std::string head =
      error_of<ConfigError>([&] { merge_adapter({.model = source, .adapter = from, .out = out}); });
  EXPECT_NE(head.find("a classification head on a llama model"), std::string::npos) << head;
  EXPECT_FALSE(fs::exists(out));
  EXPECT_FALSE(fs::exists(directory / "merged.partial"));
  fs::create_directory(out);
  const std::string there = error_of<ConfigError>([&] { merge_adapter({.model = source, .adapter = {}, .out = out}); });
  EXPECT_NE(there.find("exists already"), std::string::npos) << there;
}

}  // namespace
}  // namespace mora
