#include "loaders/peft.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "engine/error.h"
#include "loaders/safetensors.h"
#include "loaders/temporary_directory.h"

namespace mora {
namespace {

using nlohmann::json;
using test::error_of;
using test::read_bytes;
using test::TemporaryDirectory;

const std::filesystem::path goldens = MORA_SOURCE_DIR "/tests/goldens";
const std::string query = "bert.encoder.layer.0.attention.self.query",
                  value = "bert.encoder.layer.0.attention.self.value";

// The goldens' tensors hold 1 + 0.01 · i.
void expect_golden_values(const Tensor& t, const Shape& shape) {
  ASSERT_TRUE(t.defined());
  EXPECT_EQ(t.shape(), shape);
  for (int64_t i = 0; i < t.numel(); ++i) EXPECT_FLOAT_EQ(t.data<float>()[i], static_cast<float>(i) * 0.01f + 1);
}

TEST(Peft, ReadsWhatPeftWroteForDora) {
  const PeftAdapter adapter = read_peft(goldens / "peft_dora");
  const PeftConfig& c = adapter.config;
  EXPECT_EQ(c.kind, PeftConfig::Kind::lora);
  EXPECT_EQ(c.task_type, "SEQ_CLS");
  EXPECT_EQ(c.r, 4);
  EXPECT_EQ(c.lora_alpha, 8.0);
  EXPECT_TRUE(c.use_dora);
  EXPECT_EQ(c.target_modules.size(), 2u);
  EXPECT_EQ(c.modules_to_save, (std::vector<std::string>{"classifier", "score"}));
  EXPECT_EQ(c.rank_of(query), 2);
  EXPECT_EQ(c.scaling_of(query), 1.5);
  EXPECT_EQ(c.rank_of(value), 4);
  EXPECT_EQ(c.scaling_of(value), 2.0);
  EXPECT_EQ(adapter.modules.size(), 2u);
  expect_golden_values(adapter.modules.at(query).a, {2, 16});
  expect_golden_values(adapter.modules.at(query).b, {16, 2});
  expect_golden_values(adapter.modules.at(value).magnitude, {16});
  EXPECT_EQ(adapter.saved.size(), 2u);
  expect_golden_values(adapter.saved.at("classifier.weight"), {2, 16});
}

TEST(Peft, ReadsWhatPeftWroteForAdaLora) {
  const PeftAdapter adapter = read_peft(goldens / "peft_adalora");
  EXPECT_EQ(adapter.config.kind, PeftConfig::Kind::adalora);
  EXPECT_EQ(adapter.config.r, 4);
  EXPECT_EQ(adapter.config.target_r, 2);
  EXPECT_EQ(adapter.config.total_step, 100);
  EXPECT_TRUE(adapter.config.fan_in_fan_out);
  const PeftModule& module = adapter.modules.at("transformer.h.0.attn.c_attn");
  EXPECT_EQ(module.a.shape(), (Shape{3, 16}));
  EXPECT_EQ(module.b.shape(), (Shape{48, 3}));
  EXPECT_EQ(module.e.shape(), (Shape{3, 1}));
  EXPECT_FLOAT_EQ(module.e.data<float>()[2], 1.03f);  // rank 2 of 0…3 was masked away
}

TEST(Peft, WritesTheTensorsPeftWroteByteForByte) {
  for (const char* name : {"peft_dora", "peft_adalora"}) {
    TemporaryDirectory dir;
    write_peft(dir.path(), read_peft(goldens / name));
    EXPECT_EQ(read_bytes(dir / "adapter_model.safetensors"), read_bytes(goldens / name / "adapter_model.safetensors"));
  }
}

TEST(Peft, WritesAConfigThatSaysTheSame) {
  for (const char* name : {"peft_dora", "peft_adalora"}) {
    TemporaryDirectory dir;
    write_peft(dir.path(), read_peft(goldens / name));
    const json ours = json::parse(read_bytes(dir / "adapter_config.json"));
    const json theirs = json::parse(read_bytes(goldens / name / "adapter_config.json"));
    for (const auto& [key, item] : ours.items()) {
      const bool differs = key == "peft_version" || (key == "r" && theirs["peft_type"] == "ADALORA") ||
                           (key == "rank_pattern" && theirs["peft_type"] == "ADALORA");
      if (!differs) {
        EXPECT_EQ(item, theirs.at(key)) << key;
      }
    }
  }
  TemporaryDirectory dir;
  write_peft(dir.path(), read_peft(goldens / "peft_adalora"));
  EXPECT_EQ(json::parse(read_bytes(dir / "adapter_config.json"))["rank_pattern"],
            json::parse(R"({"transformer.h.0.attn.c_attn.lora_E": [true, true, true, false]})"));
}

PeftAdapter small() {
  PeftAdapter adapter;
  adapter.config.r = 2;
  adapter.config.lora_alpha = 3.5;
  adapter.config.task_type = "CAUSAL_LM";
  adapter.config.base_model = "models/\"odd\" name";
  adapter.config.target_expression = "all-linear";
  adapter.config.use_rslora = true;
  adapter.modules["model.up"] = {.a = Tensor::zeros({2, 3}), .b = Tensor::zeros({4, 2}), .magnitude = {}, .e = {}};
  adapter.modules["model.embed"] = {
      .a = Tensor::zeros({2, 7}), .b = Tensor::zeros({3, 2}), .magnitude = {}, .e = {}, .embedding = true};
  return adapter;
}

TEST(Peft, RoundTripsEverySetting) {
  TemporaryDirectory dir;
  PeftAdapter adapter = small();
  adapter.config.alpha_pattern = {{"up", 1.25}};
  adapter.config.init_lora_weights = "pissa";
  adapter.config.lora_dropout = 0.25;
  adapter.labels = {"bad", "good"};
  write_peft(dir.path(), adapter);
  const PeftAdapter read = read_peft(dir.path());
  EXPECT_EQ(read.config.lora_alpha, 3.5);
  EXPECT_EQ(read.config.base_model, adapter.config.base_model);
  EXPECT_EQ(read.config.target_expression, "all-linear");
  EXPECT_EQ(read.config.alpha_pattern, adapter.config.alpha_pattern);
  EXPECT_EQ(read.config.init_lora_weights, "pissa");
  EXPECT_EQ(read.config.lora_dropout, 0.25);
  EXPECT_EQ(read.labels, adapter.labels);
  EXPECT_DOUBLE_EQ(read.config.scaling_of("model.up"), 1.25 / std::sqrt(2.0));
  EXPECT_TRUE(read.modules.at("model.embed").embedding);
  EXPECT_NE(read_bytes(dir / "adapter_model.safetensors").find("model.embed.lora_embedding_A\""), std::string::npos);
  const std::string card = read_bytes(dir / "README.md");
  EXPECT_TRUE(
      card.starts_with("---\nlibrary_name: peft\nbase_model: \"models/\\\"odd\\\" name\"\n"
                       "pipeline_tag: text-generation\ntags:\n- \"base_model:adapter:models/\\\"odd\\\" name\"\n"
                       "- lora\n- rslora\n---\n"))
      << card;
  EXPECT_TRUE(card.ends_with("\n- 0: \"bad\"\n- 1: \"good\"\n")) << card;
}

TEST(Peft, PatternsMatchFromADotOn) {
  PeftConfig config;
  config.rank_pattern = {{"layer.0.query", 1}, {"layer\\.[12]\\.(query|value)", 2}, {"key", 3}};
  EXPECT_EQ(config.rank_of("bert.layer.0.query"), 1);
  EXPECT_EQ(config.rank_of("layer.0.query"), 1);
  EXPECT_EQ(config.rank_of("player.0.query"), 8);
  EXPECT_EQ(config.rank_of("bert.layer.2.value"), 2);
  EXPECT_EQ(config.rank_of("bert.layer.3.value"), 8);
  EXPECT_EQ(config.rank_of("bert.monkey"), 8);
  EXPECT_EQ(config.rank_of("bert.key"), 3);
  config.rank_pattern = {{"(", 1}};
  EXPECT_TRUE(
      error_of<ConfigError>([&] { config.rank_of("x"); }).starts_with("rank_pattern: '(.*\\.)?(()' is no regular"));
  config.rank_pattern = {{"(x+x+)+y", 1}};
  EXPECT_TRUE(
      error_of<ConfigError>([&] { config.rank_of(std::string(5000, 'x')); }).starts_with("rank_pattern: cannot match"));
}

// An adapter with one module 'm' (in 3, out 4, rank 2), to be spoiled.
class Malformed : public testing::Test {
 protected:
  Malformed() {
    config = json::parse(R"({"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["m"]})");
    tensors = {{"base_model.model.m.lora_A.weight", Tensor::zeros({2, 3})},
               {"base_model.model.m.lora_B.weight", Tensor::zeros({4, 2})}};
  }
  std::string message() {
    dir.write("adapter_config.json", config.dump());
    write_safetensors(dir / "adapter_model.safetensors", tensors);
    return error_of<IoError>([&] { read_peft(dir.path()); }).substr(dir.path().string().size() + 1);
  }
  std::string message_with(const char* key, json item) {
    const json before = std::exchange(config[key], std::move(item));
    std::string text = message();
    config[key] = before;
    return text;
  }
  TemporaryDirectory dir;
  json config;
  std::map<std::string, Tensor> tensors;
};

TEST_F(Malformed, TheGoodOneReads) {
  dir.write("adapter_config.json", config.dump());
  write_safetensors(dir / "adapter_model.safetensors", tensors);
  EXPECT_EQ(read_peft(dir.path()).modules.size(), 1u);
}

TEST_F(Malformed, ConfigFieldsEndInOneLine) {
  const struct {
    const char* key;
    json item;
    std::string message;
  } cases[] = {
      {"peft_type", "IA3", "peft_type: 'IA3' is not supported; supported are LORA, ADALORA"},
      {"peft_type", nullptr, "peft_type is missing"},
      {"r", 0, "r: expected an integer from 1 to 1048576, got 0"},
      {"r", -1, "r: expected an integer from 1 to 1048576, got -1"},
      {"r", "8", "r: expected an integer, got the string '8'"},
      {"lora_alpha", 0, "lora_alpha: 0 would switch the adapter off"},
      {"lora_alpha", "NaN", "lora_alpha: expected a number, got the string 'NaN'"},
      {"lora_dropout", 1.5, "lora_dropout: expected a number from 0 to 1, got 1.5"},
      {"target_modules", 3, "target_modules: expected an array of strings, got 3"},
      {"rank_pattern", {{"m", 0}}, "rank_pattern: m: expected an integer from 1 to 1048576, got 0"},
      {"alpha_pattern", {{"m", 0}}, "alpha_pattern: m: 0 would switch the adapter off"},
      {"bias", "all", "bias: 'all' is not supported, only 'none'"},
      {"lora_bias", true, "lora_bias: not supported"},
      {"layer_replication", {{0, 2}}, "layer_replication: not supported"},
  };
  for (const auto& c : cases) {
    EXPECT_EQ(message_with(c.key, c.item), "adapter_config.json: " + c.message);
  }
}

TEST_F(Malformed, NoNumberOfJsonIsNaN) {
  write_safetensors(dir / "adapter_model.safetensors", tensors);
  dir.write("adapter_config.json", R"({"peft_type": "LORA", "r": 2, "lora_alpha": NaN, "target_modules": ["m"]})");
  const std::string error = error_of<IoError>([&] { read_peft(dir.path()); });
  EXPECT_NE(error.find("adapter_config.json: line 1: \"lora_alpha\": syntax error"), std::string::npos) << error;
}

TEST_F(Malformed, TensorsEndInOneLine) {
  const std::string a = "base_model.model.m.lora_A.weight", b = "base_model.model.m.lora_B.weight";
  const std::string module = "adapter_model.safetensors: module 'm': ";
  const auto good = tensors;
  const auto spoiled = [&](const std::string& name, Tensor t) {
    tensors = good;
    tensors[name] = std::move(t);
    return message();
  };
  EXPECT_EQ(spoiled(a, Tensor::zeros({3, 3})),
            module + "lora_A (3, 3) and lora_B (4, 2): expected (2, in) and (out, 2), the rank of adapter_config.json");
  EXPECT_EQ(spoiled(b, Tensor::zeros({4, 3})),
            module + "lora_A (2, 3) and lora_B (4, 3): expected (2, in) and (out, 2), the rank of adapter_config.json");
  EXPECT_EQ(spoiled(a, Tensor::zeros({6})), module + "lora_A (6) and lora_B (4, 2): expected matrices");
  tensors = {{a, Tensor::zeros({4, 2})}, {b, Tensor::zeros({2, 3})}};
  EXPECT_EQ(message(), module + "lora_A (4, 2) and lora_B (2, 3) are swapped: expected (2, in) and (out, 2)");
  tensors = {{a, good.at(a)}};
  EXPECT_EQ(message(), module + "lora_B is missing");
  tensors = {{b, good.at(b)}};
  EXPECT_EQ(message(), module + "lora_A is missing");
  tensors = {};
  EXPECT_EQ(message(), "adapter_model.safetensors: has no adapter tensor (lora_A, lora_B)");
  EXPECT_EQ(spoiled("m.lora_A.weight", good.at(a)),
            "adapter_model.safetensors: tensor 'm.lora_A.weight': expected a name that begins with base_model.model.");
  EXPECT_EQ(
      spoiled("base_model.model.classifier.weight", good.at(a)),
      "adapter_model.safetensors: tensor 'base_model.model.classifier.weight': unexpected: no adapter tensor, and in "
      "none of modules_to_save");
  EXPECT_EQ(spoiled("base_model.model.m.lora_magnitude_vector", Tensor::zeros({4})),
            module + "lora_magnitude_vector is there without use_dora");
  EXPECT_EQ(spoiled("base_model.model.m.lora_A", Tensor::zeros({2, 3})),
            "adapter_model.safetensors: tensor '" + a + "': the module has two of it");
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), -std::numeric_limits<float>::infinity()})
    EXPECT_EQ(spoiled(a, Tensor::from<float>({0, 0, 0, 0, 0, bad}, {2, 3})),
              "adapter_model.safetensors: tensor '" + a + "': has values that are not finite (NaN or infinity)");
  tensors = good;
  for (const json& target : {json({"other"}), json("other.*")})
    EXPECT_EQ(message_with("target_modules", target),
              module + "target_modules of adapter_config.json does not name it");
  config["use_dora"] = true;
  EXPECT_EQ(message(), module + "lora_magnitude_vector is missing, use_dora asks for it");
  EXPECT_EQ(spoiled("base_model.model.m.lora_magnitude_vector", Tensor::zeros({1, 4})),
            module + "lora_magnitude_vector has shape (1, 4), expected (4)");
}

TEST_F(Malformed, HalfAnAdapterSaysWhichHalf) {
  const std::string place = dir.path().string();
  const auto read = [&] { return error_of<IoError>([&] { read_peft(dir.path()); }); };
  EXPECT_EQ(read(), place + ": no PEFT adapter: it has no adapter_config.json");
  dir.write("adapter_config.json", config.dump());
  EXPECT_EQ(read(), place + ": has adapter_config.json but no adapter_model.safetensors");
  dir.write("adapter_model.bin", "x");
  EXPECT_EQ(read(), place +
                        ": has adapter_config.json but no adapter_model.safetensors; save the adapter as safetensors, "
                        "adapter_model.bin is a pickle");
  std::filesystem::remove(dir / "adapter_config.json");
  write_safetensors(dir / "adapter_model.safetensors", tensors);
  EXPECT_EQ(read(), place + ": has adapter_model.safetensors but no adapter_config.json");
}

}  // namespace
}  // namespace mora
