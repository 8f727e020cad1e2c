#include "loaders/gguf.h"

#include <gtest/gtest.h>

#include <chrono>
#include <cstring>
#include <nlohmann/json.hpp>

#include "engine/error.h"
#include "loaders/checksum.h"
#include "loaders/gguf_model.h"
#include "loaders/model_files.h"
#include "loaders/temporary_directory.h"

namespace mora {
namespace {

using nlohmann::json;
using test::error_of;
using test::TemporaryDirectory;

const std::filesystem::path golden = MORA_SOURCE_DIR "/tests/goldens/gguf.gguf";
const std::filesystem::path golden_values = MORA_SOURCE_DIR "/tests/goldens/gguf.safetensors";

// Bytes of a GGUF file, written piece by piece.
struct Bytes {
  std::string text;
  template <class T>
  Bytes& number(T value) {
    text.append(reinterpret_cast<const char*>(&value), sizeof value);
    return *this;
  }
  Bytes& string(std::string_view value) {
    number<uint64_t>(value.size());
    text += value;
    return *this;
  }
  Bytes& head(uint64_t tensors, uint64_t pairs, uint32_t version = 3) {
    text += "GGUF";
    return number(version).number(tensors).number(pairs);
  }
  Bytes& u32(std::string_view key, uint32_t value) { return string(key).number<uint32_t>(4).number(value); }
  Bytes& tensor(std::string_view name, std::vector<uint64_t> dims, uint32_t type, uint64_t offset) {
    string(name).number(static_cast<uint32_t>(dims.size()));
    for (const uint64_t d : dims) number(d);
    return number(type).number(offset);
  }
  Bytes& data(size_t bytes) {
    text.resize((text.size() + 31) / 32 * 32 + bytes);
    return *this;
  }
};

TEST(Gguf, ReadsMetadataOfEveryType) {
  const GgufFile file = GgufFile::open(golden);
  EXPECT_EQ(file.version(), 3u);
  EXPECT_EQ(file.string("general.architecture"), "llama");
  EXPECT_EQ(file.integer("llama.embedding_length"), 256);
  EXPECT_EQ(file.integer("golden.u8"), 200);
  EXPECT_EQ(file.integer("golden.i8"), -100);
  EXPECT_EQ(file.integer("golden.u16"), 60000);
  EXPECT_EQ(file.integer("golden.i16"), -30000);
  EXPECT_EQ(file.integer("golden.i32"), -5);
  EXPECT_EQ(file.integer("golden.u64"), int64_t{1} << 40);
  EXPECT_EQ(file.integer("golden.i64"), -(int64_t{1} << 40));
  EXPECT_EQ(file.number("golden.f64"), 0.1);
  EXPECT_EQ(file.number("llama.rope.freq_base"), 5000.0);
  EXPECT_TRUE(file.boolean("golden.bool"));
  EXPECT_EQ(file.integers("golden.integers"), (std::vector<int64_t>{-1, 2}));
  EXPECT_EQ(file.strings("tokenizer.ggml.tokens")[8], "▁ab");
  EXPECT_EQ(file.integer("absent", 7), 7);
  EXPECT_EQ(error_of<IoError>([&] { file.integer("absent"); }), golden.string() + ": absent: is missing");
  EXPECT_EQ(error_of<IoError>([&] { file.integer("golden.f64"); }),
            golden.string() + ": golden.f64: expected an integer, got f64");
  EXPECT_EQ(error_of<IoError>([&] { file.string("golden.u8"); }),
            golden.string() + ": golden.u8: expected a string, got u8");
  EXPECT_EQ(error_of<IoError>([&] { file.strings("golden.integers"); }),
            golden.string() + ": golden.integers: expected strings, got i32");
  EXPECT_EQ(error_of<IoError>([&] { file.integers("golden.u8"); }), golden.string() + ": golden.u8: expected an array");
}

TEST(Gguf, DequantisesEveryFormatAsTheReferenceDoes) {
  const auto weights = GgufWeights::open(golden, DType::f32);
  const auto rounded = GgufWeights::open(golden, DType::bf16);
  const auto expected = SafetensorsFile::open(golden_values);
  EXPECT_EQ(weights->names().size(), expected.tensors().size());
  for (const TensorInfo& info : expected.tensors()) {
    const Tensor want = expected.tensor(info), got = weights->load(info.name), narrow = rounded->load(info.name);
    ASSERT_EQ(got.shape(), want.shape()) << info.name;
    for (int64_t i = 0; i < want.numel(); ++i) {
      ASSERT_EQ(got.data<float>()[i], want.data<float>()[i]) << info.name << " at " << i;
      ASSERT_EQ(narrow.data<bf16_t>()[i].bits, bf16_t(want.data<float>()[i]).bits) << info.name << " at " << i;
    }
  }
  EXPECT_EQ(error_of<IoError>([&] { weights->load("lm_head.weight"); }),
            golden.string() + ": has no tensor 'lm_head.weight'");
}

TEST(Gguf, F32AliasesTheMap) {
  EXPECT_TRUE(GgufWeights::open(golden, DType::f32)->load("model.norm.weight").storage()->is_foreign());
}

TEST(Gguf, ConfigurationFromMetadata) {
  const HfConfig c = gguf_config(GgufFile::open(golden));
  EXPECT_EQ(c.model_type, "llama");
  EXPECT_EQ(c.architectures, std::vector<std::string>{"LlamaForCausalLM"});
  EXPECT_EQ(c.vocab_size, 9);
  EXPECT_EQ(c.hidden_size, 256);
  EXPECT_EQ(c.num_hidden_layers, 1);
  EXPECT_EQ(c.num_attention_heads, 4);
  EXPECT_EQ(c.num_key_value_heads, 2);
  EXPECT_EQ(c.head_dim, 64);
  EXPECT_EQ(c.max_position_embeddings, 64);
  EXPECT_EQ(c.rope.theta, 5000.0);
  EXPECT_EQ(c.norm_eps, static_cast<double>(1e-5f));
  EXPECT_TRUE(c.tie_word_embeddings);
  EXPECT_EQ(c.bos_token_id, 1);
  EXPECT_EQ(c.eos_token_ids, std::vector<int64_t>{2});
  EXPECT_EQ(json::parse(c.json_text).at("model_type"), "llama");
}

TEST(Gguf, ModelFilesAreADirectoryOrAGguf) {
  const ModelFiles model = open_model_files(golden);
  EXPECT_EQ(model.config.model_type, "llama");
  EXPECT_EQ(model.weights->load("model.norm.weight", {model.config.hidden_size}).dtype(), DType::f32);
  TemporaryDirectory dir;
  EXPECT_EQ(error_of<IoError>([&] { open_model_files(dir.path()); }),
            dir.path().string() +
                ": no model here; a model is a Hugging Face directory (config.json and what lies beside it) or a .gguf "
                "file");
}

TEST(Gguf, TokenizerOfSentencePieceWithDerivedMerges) {
  const GgufFile file = GgufFile::open(golden);
  const json tokenizer = gguf_tokenizer_json(file);
  EXPECT_EQ(tokenizer["model"]["vocab"]["▁ab"], 8);
  EXPECT_EQ(tokenizer["model"]["merges"], json::parse(R"([["▁","ab"],["a","b"]])"));
  EXPECT_EQ(tokenizer["model"]["unk_token"], "<unk>");
  EXPECT_TRUE(tokenizer["model"]["byte_fallback"]);
  EXPECT_EQ(tokenizer["added_tokens"].size(), 4u);
  EXPECT_EQ(tokenizer["added_tokens"][3]["special"], false);
  EXPECT_EQ(tokenizer["normalizer"]["normalizers"][0]["prepend"], "▁");
  EXPECT_EQ(tokenizer["post_processor"]["single"][0]["SpecialToken"]["id"], "<s>");
  EXPECT_EQ(gguf_chat_template(file), "{{ messages }}");
}

// A file with only tokenizer keys.
class TokenizerKeys {
 public:
  TokenizerKeys& text(std::string_view key, std::string_view value) {
    ++pairs_;
    body_.string(key).number<uint32_t>(8).string(value);
    return *this;
  }
  TokenizerKeys& texts(std::string_view key, const std::vector<std::string>& values) {
    ++pairs_;
    body_.string(key).number<uint32_t>(9).number<uint32_t>(8).number<uint64_t>(values.size());
    for (const std::string& v : values) body_.string(v);
    return *this;
  }
  json read() const {
    TemporaryDirectory dir;
    return gguf_tokenizer_json(GgufFile::open(dir.write("t.gguf", Bytes{}.head(0, pairs_).text + body_.text)));
  }
  std::string error() const {
    const std::string message = error_of<IoError>([&] { read(); });
    return message.substr(message.find("t.gguf: ") + 8);
  }

 private:
  uint64_t pairs_ = 0;
  Bytes body_;
};

TokenizerKeys byte_level(const std::string& pre) {
  return TokenizerKeys{}
      .text("tokenizer.ggml.model", "gpt2")
      .text("tokenizer.ggml.pre", pre)
      .texts("tokenizer.ggml.tokens", {"a", "b", "ab"})
      .texts("tokenizer.ggml.merges", {"a b"});
}

TEST(Gguf, TokenizersOfBytes) {
  EXPECT_EQ(byte_level("gpt-2").read()["pre_tokenizer"]["type"], "ByteLevel");
  EXPECT_EQ(byte_level("smollm").read()["pre_tokenizer"]["pretokenizers"][0]["type"], "Digits");
  EXPECT_EQ(byte_level("qwen2").read()["normalizer"]["type"], "NFC");
  EXPECT_EQ(byte_level("gpt-2").read()["model"]["merges"], json::array({"a b"}));
  EXPECT_EQ(byte_level("gpt-2").read()["post_processor"], nullptr);
  const std::string pre =
      "tokenizer.ggml.pre: 'x' is not supported; supported are gpt-2, default, smollm, llama-bpe, qwen2";
  EXPECT_EQ(byte_level("x").error(), pre);
  EXPECT_EQ(byte_level("llama-bpe").error(), "tokenizer.ggml.bos_token_id: is missing");
}

TEST(Gguf, MalformedTokenizersEndInOneLine) {
  const auto tokens = [](const std::vector<std::string>& list) {
    return TokenizerKeys{}.text("tokenizer.ggml.model", "gpt2").texts("tokenizer.ggml.tokens", list);
  };
  EXPECT_EQ(TokenizerKeys{}.error(), "tokenizer.ggml.tokens: is missing");
  EXPECT_EQ(tokens({"a", "a"}).texts("tokenizer.ggml.merges", {}).error(),
            "tokenizer.ggml.tokens: 'a' is there twice, as 0 and 1");
  EXPECT_EQ(tokens({"\xFF"}).error(), "tokenizer.ggml.tokens: token 0 is not UTF-8");
  EXPECT_EQ(tokens({"a"}).error(), "tokenizer.ggml.scores: is missing");
  EXPECT_EQ(TokenizerKeys{}.text("tokenizer.ggml.model", "rwkv").texts("tokenizer.ggml.tokens", {}).error(),
            "tokenizer.ggml.model: 'rwkv' is not supported; supported are gpt2, llama");
}

TEST(Gguf, MalformedFilesEndInOneLine) {
  const uint64_t huge = uint64_t{1} << 63;
  const struct {
    std::string content, message;
  } cases[] = {
      {"", "truncated: the magic needs 4 bytes at offset 0, 0 are left"},
      {"GGML....", "no GGUF file: it does not begin with GGUF"},
      {"GGUF", "truncated: the version needs 4 bytes at offset 4, 0 are left"},
      {Bytes{}.head(0, 0, 1).text, "version 0x1 is not supported; supported are 2 and 3"},
      {Bytes{}.head(0, 0, 0x03000000).text, "version 0x3000000 is not supported; supported are 2 and 3, little-endian"},
      {Bytes{}.head(0, huge).text,
       "the number of metadata pairs: 9223372036854775808 do not fit into the 0 bytes that are left"},
      {Bytes{}.head(huge, 0).text, "the tensor count: 9223372036854775808 do not fit into the 0 bytes that are left"},
      {Bytes{}.head(0, 1).string("k").number<uint32_t>(9).number<uint32_t>(0).number(huge).text,  // 49 bytes
       "'k': 9223372036854775808 do not fit into the 0 bytes that are left"},
      {Bytes{}.head(0, 1).string("k").number<uint32_t>(9).number<uint32_t>(8).number(huge).text,
       "'k': 9223372036854775808 do not fit into the 0 bytes that are left"},
      {Bytes{}.head(0, 1).string("k").number<uint32_t>(9).number<uint32_t>(9).number(huge).text,
       "'k': arrays of arrays are not supported"},
      {Bytes{}.head(0, 1).string("k").number<uint32_t>(13).number<uint64_t>(0).text,
       "'k': value type 13 is none of the format's"},
      {Bytes{}.head(0, 1).string("k").number<uint32_t>(8).number(huge).text,
       "truncated: 'k' needs 9223372036854775808 bytes at offset 45, 0 are left"},
      {Bytes{}.head(0, 1).number(UINT64_MAX).number<uint64_t>(0).text,
       "truncated: a metadata key needs 18446744073709551615 bytes at offset 32, 8 are left"},
      {Bytes{}.head(0, 2).u32("k", 1).u32("k", 2).text, "'k': is there twice"},
      {Bytes{}.head(0, 1).u32("general.alignment", 0).text,
       "general.alignment: expected a power of two of at most 1048576, got 0"},
      {Bytes{}.head(0, 1).u32("general.alignment", 48).text,
       "general.alignment: expected a power of two of at most 1048576, got 48"},
      {Bytes{}.head(0, 1).u32("general.alignment", 1u << 31).text,
       "general.alignment: expected a power of two of at most 1048576, got 2147483648"},
      {Bytes{}.head(1, 0).tensor("t", {}, 0, 0).data(64).text, "tensor 't': 0 dimensions, expected 1 to 4"},
      {Bytes{}.head(1, 0).tensor("t", {1, 1, 1, 1, 1}, 0, 0).data(64).text,
       "tensor 't': 5 dimensions, expected 1 to 4"},
      {Bytes{}.head(1, 0).tensor("t", {0}, 0, 0).data(64).text, "tensor 't': dimension 0 of 0 is out of range"},
      {Bytes{}.head(1, 0).tensor("t", {huge}, 0, 0).data(64).text,
       "tensor 't': dimension 0 of 9223372036854775808 is out of range"},
      {Bytes{}.head(1, 0).tensor("t", {1ull << 40, 1ull << 40}, 0, 0).data(64).text,
       "tensor 't': dimension 1 of 1099511627776 is out of range"},
      {Bytes{}.head(1, 0).tensor("t", {1ull << 62}, 0, 0).data(64).text, "tensor 't': its size overflows 64 bits"},
      {Bytes{}.head(1, 0).tensor("t", {32}, 99, 0).data(64).text,
       "tensor 't': type 99 is not supported; supported are F32 F16 BF16 Q8_0 Q4_0 Q4_1 Q5_0 Q5_1 Q4_K Q5_K Q6_K"},
      {Bytes{}.head(1, 0).tensor("t", {33}, 2, 0).data(64).text,
       "tensor 't': rows of 33 are no whole Q4_0 blocks of 32"},
      {Bytes{}.head(1, 0).tensor("t", {4}, 0, 8).data(64).text,
       "tensor 't': offset 8 is no multiple of the alignment 32"},
      {Bytes{}.head(1, 0).tensor("t", {32}, 0, 0).data(127).text,
       "tensor 't': truncated: 128 bytes at offset 0 of the data, the file has 127"},
      {Bytes{}.head(1, 0).tensor("t", {8}, 0, UINT64_MAX - 31).data(64).text,
       "tensor 't': truncated: 32 bytes at offset 18446744073709551584 of the data, the file has 64"},
      {Bytes{}.head(2, 0).tensor("t", {4}, 0, 0).tensor("t", {4}, 0, 32).data(64).text, "tensor 't': is there twice"},
  };
  for (const auto& c : cases) {
    TemporaryDirectory dir;
    const auto file = dir.write("m.gguf", c.content);
    const auto start = std::chrono::steady_clock::now();
    EXPECT_EQ(error_of<IoError>([&] { GgufFile::open(file); }), file.string() + ": " + c.message);
    EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(1));
  }
}

TEST(Gguf, EveryTruncationOfAGoodFileIsAnError) {
  const std::string content = test::read_bytes(golden);
  TemporaryDirectory dir;
  for (size_t size = 0; size < content.size(); size += size < 2500 ? 13 : 997)
    error_of<IoError>([&] { GgufFile::open(dir.write("m.gguf", content.substr(0, size))); });
}

TEST(Gguf, UnknownArchitecturesAndTensorsAreNamed) {
  TemporaryDirectory dir;
  const auto message = [&](const std::string& content) {
    const auto file = dir.write("m.gguf", content);
    return error_of<IoError>([&] { GgufWeights::open(file, DType::f32); }).substr(file.string().size() + 2);
  };
  const auto architecture = [](uint64_t tensors, const char* name) {
    return Bytes{}
        .head(tensors, 2)
        .string("general.architecture")
        .number<uint32_t>(8)
        .string(name)
        .u32(std::string(name) + ".attention.head_count", 2);
  };
  EXPECT_EQ(message(architecture(0, "rwkv").text),
            "general.architecture: 'rwkv' is not supported; supported are llama, mistral, qwen2, qwen3, gpt2");
  EXPECT_EQ(message(architecture(1, "llama").tensor("blk.0.odd.weight", {4}, 0, 0).data(32).text),
            "tensor 'blk.0.odd.weight': no llama model has it");
  EXPECT_EQ(message(architecture(1, "llama").tensor("blk.0.attn_q.weight", {1, 6}, 0, 0).data(32).text),
            "tensor 'blk.0.attn_q.weight': 6 rows are no whole pairs of 2 heads");
}

TEST(Gguf, NamesGoBothWays) {
  EXPECT_EQ(gguf_name("llama", "model.layers.12.self_attn.q_proj.weight"), "blk.12.attn_q.weight");
  EXPECT_EQ(gguf_name("llama", "model.layers.12.self_attn.q_proj"), "blk.12.attn_q");
  EXPECT_EQ(gguf_name("qwen2", "model.layers.0.self_attn.k_proj.bias"), "blk.0.attn_k.bias");
  EXPECT_EQ(gguf_name("gpt2", "transformer.h.3.mlp.c_fc.weight"), "blk.3.ffn_up.weight");
  EXPECT_EQ(gguf_name("llama", "model.layers.x.mlp.up_proj.weight"), "");
  EXPECT_EQ(gguf_name("bert", "model.norm.weight"), "");
  EXPECT_EQ(hf_name("gpt2", "position_embd.weight"), "transformer.wpe.weight");
  EXPECT_EQ(hf_name("llama", "output.weight"), "lm_head.weight");
  EXPECT_EQ(hf_name("llama", "blk.7.ffn_norm.weight"), "model.layers.7.post_attention_layernorm.weight");
  EXPECT_EQ(split_row_order(8, 2), (std::vector<int64_t>{0, 2, 1, 3, 4, 6, 5, 7}));
}

TEST(Gguf, Gpt2MatricesAreTransposedBack) {
  TemporaryDirectory dir;
  Bytes bytes = Bytes{}
                    .head(2, 2)
                    .string("general.architecture")
                    .number<uint32_t>(8)
                    .string("gpt2")
                    .u32("gpt2.attention.head_count", 1);
  bytes.tensor("blk.0.attn_qkv.weight", {2, 3}, 0, 0).tensor("token_embd.weight", {2, 3}, 0, 32).data(0);
  for (int i = 0; i < 2; ++i) {
    for (int k = 0; k < 6; ++k) bytes.number(static_cast<float>(k));
    bytes.number<uint64_t>(0);
  }
  const auto weights = GgufWeights::open(dir.write("m.gguf", bytes.text), DType::f32);
  const Tensor qkv = weights->load("transformer.h.0.attn.c_attn.weight");
  EXPECT_EQ(qkv.shape(), (Shape{2, 3}));
  const float expected[] = {0, 2, 4, 1, 3, 5};
  for (int i = 0; i < 6; ++i) EXPECT_EQ(qkv.data<float>()[i], expected[i]);
  EXPECT_EQ(weights->load("transformer.wte.weight").shape(), (Shape{3, 2}));
}

TEST(Gguf, LoraAdaptersCarryInterleavedQueries) {
  TemporaryDirectory dir;
  HfConfig base;
  base.model_type = "llama";
  base.num_attention_heads = 2;
  base.num_key_value_heads = 1;
  std::vector<float> rows(16);
  for (size_t i = 0; i < rows.size(); ++i) rows[i] = static_cast<float>(i / 2);
  const Tensor a = Tensor::from<float>({1, 2, 3, 4, 5, 6}, {2, 3}), b = Tensor::from(rows, {8, 2});
  write_gguf_lora(dir / "a.gguf", {{"model.layers.0.self_attn.q_proj", a, b}, {"model.layers.0.mlp.up_proj", a, b}}, 16,
                  base);
  const GgufFile file = GgufFile::open(dir / "a.gguf");
  EXPECT_EQ(file.string("general.type"), "adapter");
  EXPECT_EQ(file.string("adapter.type"), "lora");
  EXPECT_EQ(file.string("general.architecture"), "llama");
  EXPECT_EQ(file.number("adapter.lora.alpha"), 16.0);
  const auto values = [&](const char* name) { return file.tensor(*file.find(name), DType::f32); };
  EXPECT_EQ(values("blk.0.attn_q.weight.lora_a").data<float>()[5], 6.0f);
  const Tensor q = values("blk.0.attn_q.weight.lora_b"), up = values("blk.0.ffn_up.weight.lora_b");
  const float order[] = {0, 2, 1, 3, 4, 6, 5, 7};  // two heads of four rows
  for (int row = 0; row < 8; ++row) {
    EXPECT_EQ(q.data<float>()[2 * row], order[row]);
    EXPECT_EQ(up.data<float>()[2 * row], static_cast<float>(row));
  }
  EXPECT_EQ(error_of<IoError>([&] {
              write_gguf_lora(dir / "b.gguf", {{"model.odd", a, b}}, 16, base);
            }),
            (dir / "b.gguf").string() + ": module 'model.odd' has no name in GGUF's llama architecture");
}

// The checksums are those of the model.safetensors that transformers writes out of this file (f32).
TEST(Gguf, SmolLm2HasTransformersWeightsBitForBit) {
  const std::filesystem::path path = MORA_SOURCE_DIR "/.cache/models/SmolLM2-135M-Instruct.Q4_1.gguf";
  if (!std::filesystem::exists(path)) GTEST_SKIP() << path << " is missing: run tools/fetch.sh";
  const auto weights = GgufWeights::open(path, DType::f32);
  EXPECT_EQ(weights->names().size(), 272u);
  const std::pair<const char*, const char*> sums[] = {
      {"model.embed_tokens.weight", "0a910ac23069886c"},
      {"model.layers.0.self_attn.q_proj.weight", "f367b0db74b0177c"},
      {"model.layers.11.self_attn.k_proj.weight", "c66ee89f7ed76301"},
      {"model.layers.29.mlp.down_proj.weight", "4a75aa8bd3d40ce8"},
  };
  for (const auto& [name, sum] : sums) {
    const Tensor t = weights->load(name);
    EXPECT_EQ(checksum_text(checksum({static_cast<const char*>(t.raw()), t.bytes()})), sum) << name;
  }
  EXPECT_EQ(gguf_config(weights->file()).head_dim, 64);
  EXPECT_EQ(gguf_tokenizer_json(weights->file())["model"]["vocab"].size(), 49152u);
}

}  // namespace
}  // namespace mora
