// What formats.md lists of malformed checkpoints: each ends in one line that names the file. (Truncations and flipped
// bits, failing calls and power cuts: checkpoint_test.cpp; the half-written directory, the second writer:
// tests/training/run_directory_test.cpp; another configuration: tests/training/trainer_test.cpp.)
#include "engine/error.h"
#include "faults/small_run.h"

namespace mora {
namespace {

namespace fs = std::filesystem;

struct MalformedCheckpoint : ::testing::Test {
  test::TemporaryDirectory directory;
  fs::path one = directory / "run/checkpoints/step-000001", two = directory / "run/checkpoints/step-000002";

  void SetUp() override {
    MoRAModel model = test::small_model();
    RunDirectory run(directory / "run", RunDirectory::Start::fresh);
    for (const int64_t step : {1, 2}) test::save(run, step, model, 2);
  }
  // The error that loading `checkpoint` ends in, without the path before the file's name.
  static std::string error(const fs::path& checkpoint) {
    const std::string text = test::error_of<IoError>([&] { load_checkpoint(checkpoint); });
    const std::string root = checkpoint.string() + "/";
    EXPECT_TRUE(text.starts_with(root)) << text;
    return text.substr(root.size());
  }
  static void replace(const fs::path& file, const std::string& from, const std::string& to) {
    std::string text = test::read_bytes(file);
    ASSERT_NE(text.find(from), std::string::npos) << text;
    std::ofstream(file, std::ios::binary) << text.replace(text.find(from), from.size(), to);
  }
};

TEST_F(MalformedCheckpoint, AMissingMemberIsNamed) {
  for (const char* name : {"mora_config.json", "adapter.safetensors", "optimizer.safetensors", "ranks.safetensors",
                           "learning.safetensors", "state.json"}) {
    fs::rename(one / name, one / "aside");
    EXPECT_EQ(error(one), std::string(name) + ": missing from the checkpoint");
    fs::rename(one / "aside", one / name);
  }
  EXPECT_NO_THROW(load_checkpoint(one));
  fs::remove(one / "manifest.json");
  EXPECT_EQ(error(one), "manifest.json: cannot open: No such file or directory");
}

TEST_F(MalformedCheckpoint, AMemberOfAnotherUpdateIsNoMember) {
  for (const char* name : {"optimizer.safetensors", "ranks.safetensors", "state.json"}) {
    fs::rename(one / name, one / "aside");
    fs::copy(two / name, one / name);
    EXPECT_EQ(error(one), std::string(name) + ": its checksum is not the manifest's: the file is damaged");
    fs::rename(one / "aside", one / name);
  }
  replace(one / "manifest.json", "\"step\": 1", "\"step\": 2");
  EXPECT_EQ(error(one), "state.json: of update 1, the manifest says 2");
}

TEST_F(MalformedCheckpoint, AnotherFormatSaysWhoWroteIt) {
  const std::string text = test::read_bytes(one / "manifest.json"), key = "\"format\": ";
  const int format = std::atoi(text.c_str() + text.find(key) + key.size());
  const auto with = [&](int other) {
    directory.write("run/checkpoints/step-000001/manifest.json", text);
    replace(one / "manifest.json", key + std::to_string(format), key + std::to_string(other));
    return error(one);
  };
  EXPECT_EQ(with(format + 1),
            fmt::format("manifest.json: format {}: written by a newer mora; this one reads {}", format + 1, format));
  EXPECT_EQ(with(format - 1),
            fmt::format("manifest.json: format {}: written by an older mora; this one reads {}", format - 1, format));
}

}  // namespace
}  // namespace mora
