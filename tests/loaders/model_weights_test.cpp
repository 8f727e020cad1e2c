#include "loaders/model_weights.h"

#include <gtest/gtest.h>

#include "engine/error.h"
#include "loaders/temporary_directory.h"

namespace mora {
namespace {

using test::error_of;
using test::read_bytes;
using test::TemporaryDirectory;

Tensor values(float first) { return Tensor::from<float>({first, first + 1}, {2}); }

// Two shards, one.safetensors (a, b) and two.safetensors (c).
class Shards : public testing::Test {
 protected:
  Shards() {
    write_safetensors(dir / "one.safetensors", {{"a", values(1)}, {"b", values(3)}});
    write_safetensors(dir / "two.safetensors", {{"c", values(5)}});
  }
  void write_index(const std::string& text) { dir.write("model.safetensors.index.json", text); }
  std::unique_ptr<SafetensorsWeights> open() { return SafetensorsWeights::open(dir.path()); }
  // The message of opening with this index, after the index's path.
  std::string message(const std::string& index) {
    write_index(index);
    const std::string full = error_of<IoError>([&] { open(); });
    const std::string start = dir.path().string() + "/";
    EXPECT_TRUE(full.starts_with(start)) << full;
    return full.substr(start.size());
  }
  TemporaryDirectory dir;
};

constexpr const char* kGood =
    R"({"metadata":{"total_size":24},"weight_map":{"a":"one.safetensors","b":"one.safetensors","c":"two.safetensors"}})";

TEST_F(Shards, AreOneModel) {
  write_index(kGood);
  const auto weights = open();
  EXPECT_EQ(weights->names(), (std::vector<std::string>{"a", "b", "c"}));
  EXPECT_EQ(weights->load("c").data<float>()[0], 5.0f);
  EXPECT_TRUE(weights->contains("a"));
  EXPECT_FALSE(weights->contains("d"));
  EXPECT_EQ(error_of<IoError>([&] { weights->load("d"); }), weights->path().string() + ": has no tensor 'd'");
  EXPECT_EQ(error_of<IoError>([&] {
              weights->load("a", {3, 1});
            }),
            weights->path().string() + ": tensor 'a' has shape (2), the configuration asks for (3, 1)");
  EXPECT_EQ(weights->load("a", {2}).numel(), 2);
}

TEST_F(Shards, MayBeSymbolicLinks) {
  TemporaryDirectory cache;
  std::filesystem::rename(dir / "one.safetensors", cache / "blob");
  std::filesystem::create_symlink(cache / "blob", dir / "one.safetensors");
  write_index(kGood);
  EXPECT_EQ(open()->load("b").data<float>()[0], 3.0f);
}

TEST_F(Shards, MalformedIndexEndsInOneLine) {
  const std::string index = "model.safetensors.index.json: ";
  const struct {
    std::string text, message;
  } cases[] = {
      {"", index + "empty, expected JSON"},
      {"[]", index + "weight_map is missing"},
      {"{}", index + "weight_map is missing"},
      {R"({"weight_map":{}})", index + "weight_map is empty"},
      {R"({"weight_map":[]})", index + "weight_map: expected an object, got array"},
      {R"({"weight_map":{"a":1}})", index + "weight_map: 'a': expected a shard's file name, got number"},
      {R"({"weight_map":{"a":"x","a":"y"}})", index + "line 1: duplicate key \"a\""},
      {R"({"weight_map":{"a":"/etc/passwd"}})",
       index + "weight_map: 'a': shard '/etc/passwd' must be a file name inside the model's directory"},
      {R"({"weight_map":{"a":"../one.safetensors"}})",
       index + "weight_map: 'a': shard '../one.safetensors' must be a file name inside the model's directory"},
      {R"({"weight_map":{"a":"x/../../one.safetensors"}})",
       index + "weight_map: 'a': shard 'x/../../one.safetensors' must be a file name inside the model's directory"},
      {R"({"weight_map":{"a":""}})",
       index + "weight_map: 'a': shard '' must be a file name inside the model's directory"},
      {R"({"weight_map":{"a":"one.safetensors\u0000x"}})",
       index + "weight_map: 'a': shard 'one.safetensors\\x00x' must be a file name inside the model's directory"},
      {R"({"weight_map":{"a":"three.safetensors"}})", "three.safetensors: cannot open: No such file or directory"},
      {R"({"weight_map":{"a":"one.safetensors","b":"one.safetensors","c":"two.safetensors","d":"two.safetensors"}})",
       index + "weight_map: tensor 'd' is listed in shard 'two.safetensors', which does not have it"},
      {R"({"weight_map":{"a":"one.safetensors","b":"two.safetensors","c":"two.safetensors"}})",
       index + "weight_map: tensor 'b' is listed in shard 'two.safetensors', which does not have it"},
      {R"({"weight_map":{"a":"one.safetensors","c":"two.safetensors"}})",
       index + "weight_map: tensor 'b' of shard 'one.safetensors' is not listed"},
  };
  for (const auto& c : cases) EXPECT_EQ(message(c.text), c.message);
  write_safetensors(dir / "two.safetensors", {{"c", values(5)}, {"a", values(1)}});
  EXPECT_EQ(message(kGood), index + "tensor 'a' is in two shards, 'one.safetensors' and 'two.safetensors'");
  std::filesystem::remove(dir / "two.safetensors");
  std::filesystem::create_directory(dir / "two.safetensors");
  EXPECT_EQ(message(kGood), "two.safetensors: a directory, expected a regular file");
}

TEST(ModelWeights, ADirectoryWithoutWeightsSaysWhatItLacks) {
  TemporaryDirectory dir;
  EXPECT_EQ(error_of<IoError>([&] { SafetensorsWeights::open(dir.path()); }),
            dir.path().string() + ": no model.safetensors and no model.safetensors.index.json in it");
}

TEST(ModelWeights, WritesOneFileOrShardsUnderTheirSize) {
  TemporaryDirectory dir;
  const auto tensors = [] {
    std::vector<TensorToWrite> list;
    for (const char* name : {"c", "a", "d", "b"}) list.push_back({name, Meta{{2}}, [name] { return values(*name); }});
    return list;
  };
  write_model_weights(dir.path(), tensors());
  EXPECT_EQ(SafetensorsWeights::open(dir.path())->files().size(), 1u);
  std::filesystem::remove(dir / "model.safetensors");
  write_model_weights(dir.path(), tensors(), 17);  // two tensors of 8 bytes fit
  const auto weights = SafetensorsWeights::open(dir.path());
  EXPECT_EQ(weights->path().filename(), "model.safetensors.index.json");
  EXPECT_EQ(weights->names(), (std::vector<std::string>{"a", "c", "b", "d"}));
  EXPECT_TRUE(std::filesystem::exists(dir / "model-00002-of-00002.safetensors"));
  EXPECT_EQ(weights->load("d").data<float>()[0], static_cast<float>('d'));
  EXPECT_NE(read_bytes(weights->path()).find("\"total_size\": 32"), std::string::npos);
}

}  // namespace
}  // namespace mora
