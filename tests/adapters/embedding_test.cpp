// LoRA on embeddings: its definition and gradients, on disk in both formats, merged, combined, and what is refused.
// (PEFT's forward, losses and merged weights: tests/parity/peft_embeddings_test.cpp.)
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "adapters/adapted_model.h"
#include "autograd/gradcheck.h"
#include "autograd/ops/arithmetic.h"
#include "autograd/ops/reduce.h"
#include "loaders/json.h"
#include "loaders/model_weights.h"
#include "loaders/peft.h"
#include "loaders/temporary_directory.h"
#include "models/packed.h"
#include "mora/adapters/embedding_lora.h"
#include "mora/combine.h"
#include "mora/export.h"
#include "mora/merge.h"
#include "mora/multi_adapter_model.h"

namespace mora {
namespace {

namespace fs = std::filesystem;
using Kind = AdapterSpec::Kind;
using Init = AdapterSpec::Init;
using test::error_of;
using Names = std::vector<std::string>;

const AdapterSpec spec{.kind = Kind::lora, .rank = 2, .alpha = 6};
const fs::path tied = test::golden_models / "llama_gqa_tied", untied = test::golden_models / "llama",
               gpt2 = test::golden_models / "gpt2", bert = test::golden_models / "bert";
const std::vector<std::vector<int32_t>> texts = {{5, 17, 5, 62}, {3}, {9, 8, 7, 6, 5, 4, 3, 2}};

double worst(const Tensor& a, const Tensor& b) {
  double most = 0;
  for (int64_t i = 0; i < a.numel(); ++i)
    most = std::max(most, std::abs(double(a.data<float>()[i]) - double(b.data<float>()[i])));
  return most;
}

Tensor outputs(const MoRAModel& model) {
  const NoGrad no_grad;
  Context context;
  const Tensor hidden = model.base().hidden_states(packed(texts), context);
  return contiguous(model.base().lm_head() ? linear(hidden, model.base().lm_head()) : hidden);
}

// The embeddings of a model with the linears that are named.
MoRAModel adapted(const fs::path& directory, const Names& targets, const AdapterSpec& with = spec) {
  MoRAModel model(load_model(directory));
  model.add_adapters(with, targets, 1);
  test::randomize(model);
  return model;
}

// The words' embedding and more of each family.
Names targets_of(const fs::path& model) {
  if (model.filename() == "bert") return {"word_embeddings", "position_embeddings", "query"};
  if (model.filename() == "gpt2") return {"wte", "wpe", "c_attn"};
  return {"embed_tokens", "q_proj"};
}

struct EmbeddingTest : ::testing::Test {
  test::TemporaryDirectory directory;

  fs::path saved(MoRAModel& model, const std::string& name = "adapter") const {
    return test::saved(directory / name, model, {.base_model = "", .task = "", .pooling = "", .labels = {}});
  }
  // A copy of a golden model with its weights in f32.
  fs::path in_f32(const fs::path& model) const {
    const auto weights = SafetensorsWeights::open(model);
    std::map<std::string, Tensor> wide;
    for (const std::string& name : weights->names()) wide[name] = cast(weights->load(name), DType::f32);
    const fs::path copy = directory / model.filename();
    fs::create_directory(copy);
    fs::copy_file(model / "config.json", copy / "config.json");
    write_safetensors(copy / "model.safetensors", wide);
    return copy;
  }
};

Tensor normal(const Shape& shape, uint64_t layer) {
  const RandomStream stream({.seed = 5, .layer = layer});
  Tensor t = Tensor::empty(shape, DType::f64);
  for (int64_t i = 0; i < t.numel(); ++i) t.mutable_data<double>()[i] = stream.normal(uint64_t(i));
  return t;
}

TEST_F(EmbeddingTest, ARowIsTheTablesPlusItsRowOfATimesB) {
  for (const bool rank_stabilized : {false, true}) {
    AdapterSpec own = spec;
    own.rank_stabilized = rank_stabilized;
    const Tensor a = normal({9, 2}, 1), b = normal({5, 2}, 2), table = normal({9, 5}, 3);
    const double scaling = rank_stabilized ? 6 / std::sqrt(2.0) : 3;
    const EmbeddingLoRA layer(own, a, b, DType::f64);
    const auto w = std::make_shared<const kernels::FrozenWeight>(transpose(table), Tensor());
    const Tensor ids = Tensor::from(std::vector<int32_t>{4, 0, 4, 8}, {4});
    Context context;
    const NoGrad no_grad;
    const Tensor rows = layer.forward(ids, w, context), merged = contiguous(transpose(layer.merged()));
    for (int64_t n = 0; n < 4; ++n)
      for (int64_t j = 0; j < 5; ++j) {
        const int64_t id = ids.data<int32_t>()[n];
        double delta = 0;
        for (int64_t k = 0; k < 2; ++k) delta += scaling * a.data<double>()[id * 2 + k] * b.data<double>()[j * 2 + k];
        EXPECT_NEAR(rows.data<double>()[n * 5 + j], table.data<double>()[id * 5 + j] + delta, 1e-12);
        EXPECT_NEAR(merged.data<double>()[id * 5 + j], delta, 1e-12);
      }
    const LowRank product = layer.as_low_rank();
    EXPECT_EQ(product.a.shape(), (Shape{2, 9}));
    EXPECT_EQ(product.scaling, scaling);
  }
}

TEST_F(EmbeddingTest, GradientsAreThoseOfTheDefinition) {
  const Tensor ids = Tensor::from(std::vector<int32_t>{4, 0, 4, 8}, {4}), seen = normal({4, 5}, 7);
  const auto value = [&](std::span<const Tensor> in) -> Tensors {
    EmbeddingLoRA layer(spec, in[0], in[1], DType::f64);
    layer.visit_parameters([&](const std::string& name, Tensor& t) { t = name == "lora_embedding_A" ? in[0] : in[1]; });
    Context context;
    const Tensor rows = layer.update(ids, context);
    return {sum(rows * rows * seen)};
  };
  const Tensor a = leaf(normal({9, 2}, 1)), b = leaf(normal({5, 2}, 2));
  EXPECT_EQ(check_grads(value, std::array{a, b}), "");
  const Tensor g = grad(value(std::array{a, b})[0], std::span(&a, 1))[0];
  for (const int64_t row : {1, 2, 3, 5, 6, 7})  // those that no id looks up
    for (int64_t k = 0; k < 2; ++k) EXPECT_EQ(g.data<double>()[row * 2 + k], 0);
}

// A = 0 and B ~ N(0, 1), as PEFT's reset_lora_parameters has it.
TEST_F(EmbeddingTest, AFreshOneLeavesTheFunctionAsItIs) {
  for (const fs::path& path : {tied, untied, gpt2, bert}) {
    MoRAModel model(load_model(path));
    const Tensor before = outputs(model);
    Names embeddings;
    model.base().visit_embeddings([&](const std::string& module, LinearSlot&) { embeddings.push_back(module); });
    model.add_adapters(spec, embeddings, 1);
    ASSERT_EQ(model.adapted().size(), embeddings.size());
    EXPECT_EQ(worst(before, outputs(model)), 0) << path;
    int64_t expected = 0;
    for (const auto& [module, linear] : model.adapted()) expected += 2 * (linear->in() + linear->out());
    EXPECT_EQ(model.trainable_parameters(), expected);
    double squares = 0, count = 0;
    model.visit_parameters([&](const std::string& name, Tensor& t) {
      if (!name.ends_with("lora_embedding_B")) return;
      for (const float v : t.values<float>()) squares += double(v) * double(v);
      count += double(t.numel());
    });
    EXPECT_NEAR(squares / count, 1, 0.4) << path;
    test::randomize(model);
    EXPECT_GT(worst(before, outputs(model)), 1e-2) << path;
    model.remove_adapters();
    EXPECT_EQ(worst(before, outputs(model)), 0) << path;
  }
}

TEST_F(EmbeddingTest, AllLinearLeavesThemOutAndAnExpressionTakesThemIn) {
  MoRAModel model(load_model(bert));
  model.add_adapters(spec, "all-linear", 1);
  for (const auto& [path, linear] : model.adapted()) EXPECT_EQ(path.find("embeddings"), std::string::npos) << path;
  MoRAModel other(load_model(bert));
  other.add_adapters(spec, R"(.*word_embeddings|.*\.0\..*query)", 1,
                     {.rank = {{"word_embeddings", 5}}, .alpha = {{"word_embeddings", 20}}});
  ASSERT_EQ(other.adapted().size(), 2U);
  const MoRALayer& layer = other.adapted().at("bert.embeddings.word_embeddings")->layer();
  EXPECT_EQ(layer.rank(), 5);
  EXPECT_EQ(layer.as_low_rank().scaling, 4);
}

TEST_F(EmbeddingTest, BothFormatsKeepEveryBit) {
  for (const fs::path& path : {tied, gpt2, bert}) {
    MoRAModel model = adapted(path, targets_of(path));
    const Tensor expected = outputs(model);
    MoRAModel native(load_model(path)), peft(load_model(path));
    load_adapter(saved(model, "native"), native);
    EXPECT_EQ(worst(outputs(native), expected), 0) << path;
    fs::create_directory(directory / "peft");
    save_peft(directory / "peft", model,
              {.base_model = "", .task = path == bert ? "" : "causal_lm", .pooling = "", .labels = {}});
    const PeftAdapter adapter = read_peft(directory / "peft");
    int64_t embeddings = 0;
    for (const auto& [module, tensors] : adapter.modules) embeddings += tensors.embedding;
    EXPECT_EQ(embeddings, path == tied ? 1 : 2);
    load_adapter(directory / "peft", peft);
    EXPECT_EQ(worst(outputs(peft), expected), 0) << path;
    fs::remove_all(directory / "native");
    fs::remove_all(directory / "peft");
  }
}

// PEFT saves the frozen table of an embed_tokens beside its adapter.
TEST_F(EmbeddingTest, APeftAdapterMayBringTheModelsOwnTableAndNoOther) {
  MoRAModel model = adapted(tied, {"embed_tokens"});
  const Tensor expected = outputs(model);
  save_peft(directory.path(), model, {.base_model = "", .task = "causal_lm", .pooling = "", .labels = {}});
  const Tensor table = contiguous(SafetensorsWeights::open(tied)->load("model.embed_tokens.weight"));
  const auto with_table = [&](const Tensor& t) {
    const SafetensorsFile file = SafetensorsFile::open(directory / "adapter_model.safetensors");
    std::map<std::string, Tensor> tensors;
    for (const TensorInfo& info : file.tensors()) tensors[info.name] = file.tensor(info);
    tensors["base_model.model.model.embed_tokens.base_layer.weight"] = t;
    write_safetensors(directory / "adapter_model.safetensors", tensors, {{"format", "pt"}});
    MoRAModel loaded(load_model(tied));
    load_adapter(directory.path(), loaded);
    return worst(outputs(loaded), expected);
  };
  EXPECT_EQ(with_table(table), 0);
  EXPECT_EQ(with_table(cast(table, DType::f32) * 1.001), 0);  // as another precision may round it
  const std::string other = error_of<ConfigError>([&] { with_table(table * 1.1); });
  EXPECT_NE(other.find("model.embed_tokens': brings a base_layer.weight (80, 64) that is not the model's (80, 64)"),
            std::string::npos)
      << other;
  EXPECT_THROW(with_table(slice(table, 0, 0, 79)), ConfigError);
}

// The head that reads the same table is another's: it keeps the table, under a name of its own.
TEST_F(EmbeddingTest, MergedTheLogitsAreTheAdapters) {
  for (const fs::path& path : {in_f32(tied), in_f32(untied), in_f32(gpt2), in_f32(bert)}) {
    const std::string family = path.filename().string();
    MoRAModel model = adapted(path, targets_of(path));
    const fs::path out = directory / "merged", adapter = saved(model);
    const MergeResult result = merge_adapter({.model = path, .adapter = adapter, .out = out});
    EXPECT_LT(result.max_abs_error, 1e-4) << path;
    const MoRAModel merged(load_model(out));
    EXPECT_LT(worst(outputs(merged), outputs(model)), 1e-4) << path;
    const bool unties = family == "llama_gqa_tied" || family == "gpt2";
    EXPECT_EQ(result.notes.size(), unties ? 1U : 0U) << path;
    const auto before = SafetensorsWeights::open(path), after = SafetensorsWeights::open(out);
    EXPECT_EQ(after->names().size(), before->names().size() + unties) << path;
    if (unties) {
      EXPECT_FALSE(read_json(out / "config.json").at("tie_word_embeddings").get<bool>());
      const char* table = family == "gpt2" ? "transformer.wte.weight" : "model.embed_tokens.weight";
      EXPECT_EQ(worst(after->load("lm_head.weight"), before->load(table)), 0);
      EXPECT_GT(worst(after->load(table), before->load(table)), 1e-3);
    } else {
      EXPECT_EQ(test::read_bytes(out / "config.json"), test::read_bytes(path / "config.json"));
    }
    fs::remove_all(out);
    fs::remove_all(adapter);
  }
}

TEST_F(EmbeddingTest, TwoAddUpAndShareABatch) {
  MoRAModel one = adapted(tied, {"embed_tokens", "q_proj"}), two = adapted(tied, {"embed_tokens"});
  const fs::path first = saved(one, "one"), second = saved(two, "two");
  MoRAModel sum(load_model(tied));
  combine_adapters(sum, std::array{WeightedAdapter{first, 0.5}, WeightedAdapter{second, 2}});
  const auto delta = [](const MoRAModel& model) {
    return contiguous(model.adapted().at("model.embed_tokens")->layer().merged());
  };
  const Tensor difference = delta(sum) - (delta(one) * 0.5 + delta(two) * 2);
  for (const double v : difference.values<double>()) EXPECT_NEAR(v, 0, 1e-6);

  const NoGrad no_grad;
  MultiAdapterModel both(load_model(tied));
  both.load(first);
  both.load(second);
  Context context;
  context.adapter_rows = {{1, 0, 4}, {0, 4, 5}, {2, 5, 13}};
  const Tensor together = both.base().hidden_states(packed(texts), context);
  const MoRAModel none(load_model(tied));
  Context alone;
  int64_t row = 0;
  for (const auto& [model, text] : {std::pair<const MoRAModel*, int>(&one, 0), {&none, 1}, {&two, 2}}) {
    const Tensor expected = model->base().hidden_states(packed({texts[size_t(text)]}), alone);
    EXPECT_LT(worst(contiguous(slice(together, 0, row, expected.dim(0))), expected), 2e-5) << text;
    row += expected.dim(0);
  }
}

TEST_F(EmbeddingTest, WhatCannotBeIsRefusedWithTheFix) {
  const auto refusal = [&](const AdapterSpec& with, const RoutedSpec& routed = {}) {
    MoRAModel model(load_model(bert));
    return error_of<ConfigError>([&] { model.add_adapters(with, Names{"word_embeddings"}, 1, {}, routed); });
  };
  for (const Kind kind : {Kind::mora, Kind::dora, Kind::adalora})
    EXPECT_EQ(refusal({.kind = kind}),
              fmt::format("adapter.kind: {}: 'bert.embeddings.word_embeddings' is an embedding, which lora and rslora "
                          "adapt; take one of them, or leave it out of adapter.targets",
                          name_of(kind)));
  for (const Init init : {Init::pissa, Init::olora})
    EXPECT_EQ(refusal({.kind = Kind::lora, .init = init}),
              "adapter.init: 'bert.embeddings.word_embeddings' is an embedding, which default and gaussian start; take "
              "one of them, or leave it out of adapter.targets");
  EXPECT_EQ(refusal(spec, {.experts = RoutingSpec{}, .act = {}}),
            "adapter.experts: 'bert.embeddings.word_embeddings' is an embedding, which has none; leave it out of "
            "adapter.targets");
  EXPECT_NE(refusal({.kind = Kind::lora, .rank = 65}).find("adapter.rank: 65: at most 64"), std::string::npos);
  MoRAModel model(load_model(bert));
  EXPECT_EQ(error_of<ConfigError>([&] { model.train_whole({"word_embeddings"}); }),
            "adapter.modules_to_save: 'bert.embeddings.word_embeddings' is an embedding, which is not trained whole; "
            "name it in adapter.targets");

  MoRAModel decoder = adapted(tied, {"embed_tokens"});
  const std::string gguf = error_of<ConfigError>([&] { save_gguf_lora(directory / "lora.gguf", decoder); });
  EXPECT_NE(gguf.find("model.embed_tokens: an embedding: llama.cpp would"), std::string::npos) << gguf;
}

TEST_F(EmbeddingTest, MalformedDirectoriesEndInOneLine) {
  MoRAModel model = adapted(bert, {"word_embeddings"});
  const fs::path adapter = saved(model);
  nlohmann::json config = read_json(adapter / "mora_config.json");
  nlohmann::json& fields = config["modules"]["bert.embeddings.word_embeddings"];
  const std::string good = fields.dump();
  const auto error = [&](const char* field, const nlohmann::json& value) {
    fields = nlohmann::json::parse(good);
    fields[field] = value;
    directory.write("adapter/mora_config.json", config.dump());
    MoRAModel loaded(load_model(bert));
    const std::string line = error_of<IoError>([&] { load_adapter(adapter, loaded); });
    return line.substr(line.rfind('/') + 1);
  };
  const std::string place = "mora_config.json: modules.bert.embeddings.word_embeddings: ";
  EXPECT_EQ(error("kind", "dora"), place + "kind: dora: the module is an embedding, expected lora");
  EXPECT_EQ(error("rank", 0), place + "rank: expected an integer from 1 to 1048576, got 0");
  EXPECT_EQ(error("rank", 3),
            "adapter.safetensors: tensor 'bert.embeddings.word_embeddings.lora_embedding_A': shape (80, 2), the model "
            "needs (80, 3)");

  MoRAModel low_rank = adapted(bert, {"word_embeddings"});
  fs::create_directory(directory / "peft");
  save_peft(directory / "peft", low_rank, {});
  nlohmann::json peft = read_json(directory / "peft/adapter_config.json");
  peft["use_dora"] = true;
  directory.write("peft/adapter_config.json", peft.dump());
  const std::string dora = error_of<IoError>([&] { read_peft(directory / "peft"); });
  EXPECT_NE(dora.find("use_dora on an embedding is not supported"), std::string::npos) << dora;
}

}  // namespace
}  // namespace mora
