#include "loaders/hf_config.h"

#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "engine/error.h"
#include "loaders/temporary_directory.h"

namespace mora {
namespace {

using nlohmann::json;
using test::error_of;
using test::TemporaryDirectory;

json bert() {
  return json::parse(R"({"model_type": "bert", "architectures": ["BertModel"], "vocab_size": 30522, "hidden_size": 384,
    "num_hidden_layers": 6, "num_attention_heads": 12, "intermediate_size": 1536, "hidden_act": "gelu",
    "max_position_embeddings": 512, "type_vocab_size": 2, "layer_norm_eps": 1e-12, "pad_token_id": 0,
    "id2label": {"0": "neg", "1": "pos"}, "problem_type": "single_label_classification"})");
}

json llama() {
  return json::parse(R"({"model_type": "llama", "architectures": ["LlamaForCausalLM"], "vocab_size": 49152,
    "hidden_size": 576, "num_hidden_layers": 30, "num_attention_heads": 9, "num_key_value_heads": 3,
    "intermediate_size": 1536, "hidden_act": "silu", "max_position_embeddings": 8192, "rms_norm_eps": 1e-5,
    "rope_theta": 100000.0, "tie_word_embeddings": true, "torch_dtype": "bfloat16", "bos_token_id": 1,
    "eos_token_id": 2, "pad_token_id": -1})");
}

json with(json config, const json& changes) {
  for (const auto& [key, value] : changes.items()) config[key] = value;
  return config;
}

HfConfig parse(const json& config) { return parse_hf_config(config, "config.json"); }

TEST(HfConfig, Bert) {
  const HfConfig c = parse(bert());
  EXPECT_EQ(c.model_type, "bert");
  EXPECT_EQ(c.architectures, std::vector<std::string>{"BertModel"});
  EXPECT_EQ(c.vocab_size, 30522);
  EXPECT_EQ(c.hidden_size, 384);
  EXPECT_EQ(c.num_hidden_layers, 6);
  EXPECT_EQ(c.num_attention_heads, 12);
  EXPECT_EQ(c.num_key_value_heads, 12);
  EXPECT_EQ(c.head_dim, 32);
  EXPECT_EQ(c.intermediate_size, 1536);
  EXPECT_EQ(c.max_position_embeddings, 512);
  EXPECT_EQ(c.type_vocab_size, 2);
  EXPECT_EQ(c.norm_eps, 1e-12);
  EXPECT_EQ(c.activation, HfActivation::gelu);
  EXPECT_TRUE(c.qkv_bias && c.attention_output_bias && c.mlp_bias && c.tie_word_embeddings);
  EXPECT_EQ(c.pad_token_id, 0);
  EXPECT_FALSE(c.bos_token_id.has_value());
  EXPECT_EQ(c.labels, (std::vector<std::string>{"neg", "pos"}));
  EXPECT_EQ(c.problem_type, "single_label_classification");
  EXPECT_FALSE(c.dtype.has_value());
}

TEST(HfConfig, LlamaAndItsOptionalKeys) {
  const HfConfig c = parse(llama());
  EXPECT_EQ(c.num_key_value_heads, 3);
  EXPECT_EQ(c.head_dim, 64);
  EXPECT_EQ(c.norm_eps, 1e-5);
  EXPECT_EQ(c.activation, HfActivation::silu);
  EXPECT_EQ(c.rope.kind, RopeConfig::Kind::plain);
  EXPECT_EQ(c.rope.theta, 100000.0);
  EXPECT_FALSE(c.qkv_bias || c.attention_output_bias || c.mlp_bias || c.qk_norm);
  EXPECT_EQ(c.eos_token_ids, std::vector<int64_t>{2});
  EXPECT_FALSE(c.pad_token_id.has_value());
  EXPECT_EQ(c.dtype, DType::bf16);
  EXPECT_EQ(c.windows, std::vector<int64_t>(30, 0));
  json older = llama();
  for (const char* key : {"num_key_value_heads", "rope_theta", "tie_word_embeddings", "rms_norm_eps"}) older.erase(key);
  const HfConfig plain = parse(older);
  EXPECT_EQ(plain.num_key_value_heads, 9);
  EXPECT_EQ(plain.rope.theta, 10000.0);
  EXPECT_EQ(plain.norm_eps, 1e-6);
  EXPECT_FALSE(plain.tie_word_embeddings);
  EXPECT_EQ(parse(with(llama(), {{"head_dim", 128}})).head_dim, 128);
  EXPECT_TRUE(parse(with(llama(), {{"attention_bias", true}})).attention_output_bias);
  EXPECT_EQ(parse(with(llama(), {{"eos_token_id", {128001, 128008}}})).eos_token_ids.size(), 2u);
  EXPECT_EQ(parse(with(llama(), {{"dtype", "float32"}})).dtype, DType::f32);
  EXPECT_EQ(parse(with(llama(), {{"num_labels", 3}})).labels.back(), "LABEL_2");
}

TEST(HfConfig, OtherFamiliesSpellTheirKeysTheirWay) {
  const HfConfig gpt2 = parse(json::parse(
      R"({"model_type": "gpt2", "vocab_size": 50257, "n_embd": 768, "n_head": 12, "n_layer": 12, "n_positions": 1024,
          "n_inner": null, "activation_function": "gelu_new", "layer_norm_epsilon": 1e-5})"));
  EXPECT_EQ(gpt2.hidden_size, 768);
  EXPECT_EQ(gpt2.intermediate_size, 3072);
  EXPECT_EQ(gpt2.max_position_embeddings, 1024);
  EXPECT_EQ(gpt2.activation, HfActivation::gelu_tanh);
  EXPECT_TRUE(gpt2.tie_word_embeddings && gpt2.qkv_bias);
  EXPECT_EQ(gpt2.norm_eps, 1e-5);
  const HfConfig distilbert = parse(json::parse(
      R"({"model_type": "distilbert", "vocab_size": 30522, "dim": 768, "n_heads": 12, "n_layers": 6, "hidden_dim": 3072,
          "max_position_embeddings": 512, "activation": "gelu"})"));
  EXPECT_EQ(distilbert.num_hidden_layers, 6);
  EXPECT_EQ(distilbert.intermediate_size, 3072);
  EXPECT_EQ(distilbert.norm_eps, 1e-12);
  EXPECT_EQ(distilbert.type_vocab_size, 0);
  EXPECT_EQ(parse(with(bert(), {{"model_type", "roberta"}, {"type_vocab_size", 1}})).type_vocab_size, 1);
  const HfConfig qwen3 = parse(with(llama(), {{"model_type", "qwen3"}}));
  EXPECT_TRUE(qwen3.qk_norm);
  EXPECT_EQ(qwen3.head_dim, 128);
  EXPECT_FALSE(qwen3.qkv_bias);
}

TEST(HfConfig, SlidingWindows) {
  const json mistral = with(llama(), {{"model_type", "mistral"}, {"num_hidden_layers", 2}});
  EXPECT_EQ(parse(with(mistral, {{"sliding_window", 4096}})).windows, (std::vector<int64_t>{4096, 4096}));
  EXPECT_EQ(parse(with(mistral, {{"sliding_window", nullptr}})).windows, (std::vector<int64_t>{0, 0}));
  const json qwen = with(llama(), {{"model_type", "qwen2"}, {"num_hidden_layers", 3}, {"sliding_window", 64}});
  EXPECT_EQ(parse(qwen).windows, (std::vector<int64_t>{0, 0, 0}));
  EXPECT_TRUE(parse(qwen).qkv_bias && !parse(qwen).attention_output_bias);
  const json slides = with(qwen, {{"use_sliding_window", true}});
  EXPECT_EQ(parse(with(slides, {{"max_window_layers", 1}})).windows, (std::vector<int64_t>{0, 64, 64}));
  EXPECT_EQ(
      parse(with(slides, {{"layer_types", {"sliding_attention", "full_attention", "sliding_attention"}}})).windows,
      (std::vector<int64_t>{64, 0, 64}));
  EXPECT_EQ(error_of<IoError>([&] {
              parse(with(slides, {{"layer_types", {"full_attention"}}}));
            }),
            "config.json: layer_types: 1 entries for 3 layers");
  EXPECT_EQ(error_of<IoError>([&] {
              parse(with(slides, {{"layer_types", {"full_attention", "x", "y"}}}));
            }),
            "config.json: layer_types: 'x' is neither full_attention nor sliding_attention");
}

TEST(HfConfig, RopeScalingInItsOlderAndNewerSpelling) {
  const json llama3 = {{"rope_type", "llama3"},
                       {"factor", 8.0},
                       {"low_freq_factor", 1.0},
                       {"high_freq_factor", 4.0},
                       {"original_max_position_embeddings", 4096}};
  for (const char* key : {"rope_scaling", "rope_parameters"}) {
    const RopeConfig rope = parse(with(llama(), {{key, llama3}})).rope;
    EXPECT_EQ(rope.kind, RopeConfig::Kind::llama3);
    EXPECT_EQ(rope.factor, 8.0);
    EXPECT_EQ(rope.low_freq_factor, 1.0);
    EXPECT_EQ(rope.high_freq_factor, 4.0);
    EXPECT_EQ(rope.original_max_position_embeddings, 4096);
    EXPECT_EQ(rope.theta, 100000.0);
  }
  EXPECT_EQ(parse(with(llama(), {{"rope_parameters", {{"rope_theta", 5e5}, {"rope_type", "default"}}}})).rope.theta,
            5e5);
  const auto scaled = [](const json& scaling) { return parse(with(llama(), {{"rope_scaling", scaling}})).rope; };
  EXPECT_EQ(scaled({{"type", "linear"}, {"factor", 2}}).kind, RopeConfig::Kind::linear);
  const RopeConfig dynamic = scaled({{"type", "dynamic"}, {"factor", 2}});
  EXPECT_EQ(dynamic.kind, RopeConfig::Kind::dynamic);
  EXPECT_EQ(dynamic.original_max_position_embeddings, 8192);
  const RopeConfig yarn = scaled({{"rope_type", "yarn"}, {"factor", 4.0}, {"original_max_position_embeddings", 2048}});
  EXPECT_EQ(yarn.kind, RopeConfig::Kind::yarn);
  EXPECT_EQ(yarn.beta_fast, 32.0);
  EXPECT_EQ(yarn.beta_slow, 1.0);
  EXPECT_TRUE(yarn.truncate);
  EXPECT_DOUBLE_EQ(yarn.attention_factor, 0.1 * std::log(4.0) + 1);
  const RopeConfig mscale = scaled({{"rope_type", "yarn"}, {"factor", 40}, {"mscale", 0.7}, {"mscale_all_dim", 1.0}});
  EXPECT_DOUBLE_EQ(mscale.attention_factor, (0.07 * std::log(40.0) + 1) / (0.1 * std::log(40.0) + 1));
  EXPECT_EQ(scaled({{"rope_type", "yarn"}, {"factor", 4}, {"attention_factor", 1.25}}).attention_factor, 1.25);
}

TEST(HfConfig, MalformedFieldsEndInOneLine) {
  const struct {
    json config;
    std::string message;
  } cases[] = {
      {json::array(), "expected an object, got an array"},
      {json::object(), "model_type is missing"},
      {with(bert(), {{"model_type", "t5"}}),
       "model_type: 't5' is not supported; supported are bert, distilbert, roberta, llama, mistral, qwen2, qwen3, "
       "gpt2"},
      {with(bert(), {{"model_type", 3}}), "model_type: expected a string, got 3"},
      {with(bert(), {{"hidden_size", 385}}), "hidden_size: 385 is not divisible by num_attention_heads 12"},
      {with(llama(), {{"num_key_value_heads", 2}}), "num_attention_heads: 9 is not divisible by num_key_value_heads 2"},
      {with(llama(), {{"num_key_value_heads", 0}}),
       "num_key_value_heads: expected an integer from 1 to 2147483647, got 0"},
      {with(bert(), {{"hidden_size", 0}}), "hidden_size: expected an integer from 1 to 2147483647, got 0"},
      {with(bert(), {{"hidden_size", -384}}), "hidden_size: expected an integer from 1 to 2147483647, got -384"},
      {with(bert(), {{"hidden_size", 2147483648}}),
       "hidden_size: expected an integer from 1 to 2147483647, got 2147483648"},
      {with(bert(), {{"vocab_size", UINT64_MAX}}),
       "vocab_size: expected an integer from 1 to 2147483647, got 18446744073709551615"},
      {with(bert(), {{"hidden_size", "384"}}), "hidden_size: expected an integer, got the string '384'"},
      {with(bert(), {{"hidden_size", 384.0}}), "hidden_size: expected an integer, got 384.0"},
      {with(bert(), {{"hidden_size", true}}), "hidden_size: expected an integer, got true"},
      {with(bert(), {{"hidden_size", json::array({384})}}), "hidden_size: expected an integer, got an array"},
      {with(bert(), {{"hidden_size", nullptr}}), "hidden_size is missing"},
      {with(bert(), {{"num_hidden_layers", 1000000000}}),
       "num_hidden_layers: expected an integer from 1 to 4096, got 1000000000"},
      {with(bert(), {{"num_attention_heads", 0}}),
       "num_attention_heads: expected an integer from 1 to 2147483647, got 0"},
      {with(bert(), {{"hidden_act", "mish"}}),
       "hidden_act: 'mish' is not supported; supported are gelu, gelu_new, gelu_pytorch_tanh, gelu_fast, relu, silu, "
       "swish"},
      {with(bert(), {{"layer_norm_eps", "1e-12"}}), "layer_norm_eps: expected a number, got the string '1e-12'"},
      {with(bert(), {{"layer_norm_eps", -1.0}}), "layer_norm_eps: expected a number from 0 to 1, got -1.0"},
      {with(bert(), {{"is_decoder", true}}), "is_decoder: only false is supported"},
      {with(bert(), {{"position_embedding_type", "relative_key"}}),
       "position_embedding_type: 'relative_key' is not supported, only 'absolute'"},
      {with(bert(), {{"architectures", "BertModel"}}),
       "architectures: expected an array of strings, got the string 'BertModel'"},
      {with(bert(), {{"id2label", {{"0", "a"}, {"2", "b"}}}}), "id2label: 1 is missing"},
      {with(bert(), {{"id2label", {{"0", 5}}}}), "id2label: 0: expected a string, got 5"},
      {with(bert(), {{"torch_dtype", "int8"}}),
       "torch_dtype: 'int8' is not supported; supported are float32, bfloat16, float16, float64"},
      {with(llama(), {{"rope_theta", 0}}), "rope_theta: expected a number from 0.001 to 1e+18, got 0"},
      {with(llama(), {{"rope_theta", std::nan("")}}), "rope_theta: expected a number from 0.001 to 1e+18, got null"},
      {with(llama(), {{"rope_theta", "NaN"}}), "rope_theta: expected a number, got the string 'NaN'"},
      {with(llama(), {{"rope_scaling", 2}}), "rope_scaling: expected an object, got 2"},
      {with(llama(), {{"rope_scaling", {{"type", "linear"}}}}), "rope_scaling: factor is missing"},
      {with(llama(), {{"rope_scaling", {{"type", "longrope"}}}}),
       "rope_scaling: rope_type: 'longrope' is not supported; supported are default, linear, dynamic, llama3, yarn"},
      {with(llama(), {{"rope_scaling",
                       {{"rope_type", "llama3"}, {"factor", 8}, {"low_freq_factor", 4}, {"high_freq_factor", 4}}}}),
       "rope_scaling: high_freq_factor: 4 must be above low_freq_factor 4"},
      {with(llama(), {{"partial_rotary_factor", 0.5}}), "partial_rotary_factor: only 1 is supported"},
      {with(llama(), {{"head_dim", 63}}), "head_dim: 63 is odd; rotary positions turn pairs"},
      {with(llama(), {{"eos_token_id", "</s>"}}), "eos_token_id: expected an integer, got the string '</s>'"},
      {with(llama(), {{"quantization_config", {{"bits", 4}}}}),
       "quantization_config: quantised weights are not supported (a GGUF file is)"},
  };
  for (const auto& c : cases)
    EXPECT_EQ(error_of<IoError>([&] { parse(c.config); }), "config.json: " + c.message) << c.config;
}

TEST(HfConfig, ReadsTheDirectory) {
  TemporaryDirectory dir;
  const std::string text = llama().dump();
  dir.write("config.json", text);
  EXPECT_EQ(read_hf_config(dir.path()).json_text, text);
  EXPECT_EQ(read_hf_config(dir.path()).eos_token_ids, std::vector<int64_t>{2});
  dir.write("generation_config.json", R"({"eos_token_id": [128001, 128008, 128009]})");
  EXPECT_EQ(read_hf_config(dir.path()).eos_token_ids, (std::vector<int64_t>{128001, 128008, 128009}));
  dir.write("generation_config.json", R"({"bos_token_id": 1})");
  EXPECT_EQ(read_hf_config(dir.path()).eos_token_ids, std::vector<int64_t>{2});
  dir.write("generation_config.json", R"({"eos_token_id": -5})");
  EXPECT_EQ(
      error_of<IoError>([&] { read_hf_config(dir.path()); }),
      (dir / "generation_config.json").string() + ": eos_token_id: expected an integer from 0 to 2147483647, got -5");
}

TEST(HfConfig, MalformedFilesEndInOneLine) {
  TemporaryDirectory dir;
  const std::string file = (dir / "config.json").string();
  const auto message = [&] { return error_of<IoError>([&] { read_hf_config(dir.path()); }); };
  EXPECT_EQ(message(), file + ": cannot open: No such file or directory");
  dir.write("config.json", "\xEF\xBB\xBF" + bert().dump());
  EXPECT_EQ(message(), file + ": line 1: begins with a byte order mark (BOM); save it as UTF-8 without one");
  dir.write("config.json", "{\"model_type\":\"bert\",\n\"model_type\":\"llama\"}");
  EXPECT_EQ(message(), file + ": line 2: duplicate key \"model_type\"");
  dir.write("config.json", "{\"rope_theta\": NaN}");
  EXPECT_TRUE(message().starts_with(file + ": line 1: \"rope_theta\": syntax error while parsing value"));
}

}  // namespace
}  // namespace mora
