// What formats.md lists of malformed adapter directories, in MoRA's own format: each ends in one line that names the
// file and the field. (PEFT's: tests/loaders/peft_test.cpp.)
#include <gtest/gtest.h>

#include <limits>
#include <nlohmann/json.hpp>

#include "adapters/adapted_model.h"
#include "loaders/safetensors.h"
#include "loaders/temporary_directory.h"

namespace mora {
namespace {

using nlohmann::json;
using test::error_of;

const std::string module = "bert.encoder.layer.0.attention.self.query";

// A LoRA of rank 2 on one linear of the golden BERT (64, 64), to be spoiled.
struct MalformedAdapter : ::testing::Test {
  test::TemporaryDirectory directory;
  json config;
  std::map<std::string, Tensor> tensors;

  void SetUp() override { save({.kind = AdapterSpec::Kind::lora, .rank = 2}); }

  void save(const AdapterSpec& spec) {
    MoRAModel model(bert());
    model.add_adapters(spec, std::vector<std::string>{module}, 1);
    test::randomize(model);
    save_adapter(directory.path(), model, {.base_model = "bert", .task = "", .pooling = "", .labels = {}});
    config = json::parse(test::read_bytes(directory / "mora_config.json"));
    const SafetensorsFile file = SafetensorsFile::open(directory / "adapter.safetensors");
    tensors.clear();
    for (const TensorInfo& t : file.tensors()) tensors[t.name] = file.tensor(t);
  }
  static std::unique_ptr<Model> bert() { return load_model(test::golden_models / "bert"); }

  void write(const json& changed_config, const std::map<std::string, Tensor>& changed_tensors) const {
    directory.write("mora_config.json", changed_config.dump());
    write_safetensors(directory / "adapter.safetensors", changed_tensors);
  }
  // The error, its path as seen from the directory.
  template <class E = IoError>
  std::string error(const std::filesystem::path& base = test::golden_models / "bert") const {
    MoRAModel model(load_model(base));
    const std::string text = error_of<E>([&] { load_adapter(directory.path(), model); });
    const std::string root = directory.path().string();
    return text.starts_with(root + "/") ? text.substr(root.size() + 1) : text;
  }
  std::string error_with(const char* field, const json& value) const {
    json changed = config;
    changed["modules"][module][field] = value;
    write(changed, tensors);
    return error();
  }
  std::string error_with(const std::string& tensor, const Tensor& value) const {
    auto changed = tensors;
    changed[module + "." + tensor] = value;
    write(config, changed);
    return error();
  }
};

TEST_F(MalformedAdapter, FieldsEndInOneLine) {
  const std::string place = "mora_config.json: modules." + module + ": ";
  EXPECT_EQ(error_with("rank", 0), place + "rank: expected an integer from 1 to 1048576, got 0");
  EXPECT_EQ(error_with("rank", 2.5), place + "rank: expected an integer, got 2.5");
  EXPECT_EQ(error_with("rank", 3),
            "adapter.safetensors: tensor '" + module + ".lora_A': shape (2, 64), the model needs (3, 64)");
  EXPECT_EQ(error_with("alpha", 0), place + "alpha: expected a number from 1e-30 to 1e+30, got 0");
  EXPECT_EQ(error_with("alpha", std::numeric_limits<double>::quiet_NaN()), place + "alpha is missing");  // null
  EXPECT_EQ(error_with("alpha", "NaN"), place + "alpha: expected a number, got the string 'NaN'");
  EXPECT_EQ(error_with("dropout", 1), place + "dropout: expected a number from 0 to 0.999999, got 1");
  json unknown = config;
  unknown["modules"][module]["kind"] = "ia3";
  write(unknown, tensors);
  EXPECT_EQ(error<ConfigError>(), place + "kind: 'ia3': expected one of mora, lora, dora, adalora, whole");
  json newer = config;
  newer["format"] = 2;
  write(newer, tensors);
  EXPECT_EQ(error(), "mora_config.json: format 2: written by a newer mora; this one reads up to 1");
}

TEST_F(MalformedAdapter, TensorsEndInOneLine) {
  const std::string a = "adapter.safetensors: tensor '" + module + ".lora_A'";
  const Tensor lora_a = tensors.at(module + ".lora_A"), lora_b = tensors.at(module + ".lora_B");
  EXPECT_EQ(error_with("lora_A", lora_b), a + ": shape (64, 2), the model needs (2, 64)");  // A and B swapped
  EXPECT_EQ(error_with("lora_A", Tensor::zeros({2, 64}, DType::i32)), a + ": dtype i32, expected a floating one");
  EXPECT_EQ(error_with("lora_C", lora_b),
            "adapter.safetensors: tensor '" + module + ".lora_C' belongs to no module of mora_config.json");
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    std::vector<float> values(128);
    values.back() = bad;
    EXPECT_EQ(error_with("lora_A", Tensor::from(values, {2, 64})), a + " has values that are not finite");
  }
  write(config, {{module + ".lora_B", lora_b}});
  EXPECT_EQ(error(), "adapter.safetensors: has no tensor '" + module + ".lora_A'");

  save({.kind = AdapterSpec::Kind::mora, .rank = 2});
  EXPECT_EQ(error_with("side", 4),
            "adapter.safetensors: tensor '" + module + ".M': shape (16, 16), the model needs (4, 4)");
  EXPECT_EQ(error_with("side", 3),
            "mora_config.json: modules." + module + ": side: mora: a rotation of rank 3: expected an even rank");
}

TEST_F(MalformedAdapter, AnotherModelAndHalfADirectoryAreNamed) {
  write(config, tensors);
  EXPECT_EQ(error<ConfigError>(test::golden_models / "llama"),
            "mora_config.json: module '" + module +
                "': this llama model has none of that name; the adapter was made for another model (bert)");
  std::filesystem::remove(directory / "adapter.safetensors");
  EXPECT_EQ(error(), "adapter.safetensors: cannot open: No such file or directory");
  write(config, tensors);
  std::filesystem::remove(directory / "mora_config.json");
  EXPECT_EQ(error(), directory.path().string() + ": no adapter here: neither mora_config.json nor adapter_config.json");
}

}  // namespace
}  // namespace mora
