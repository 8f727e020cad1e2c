// Files made to hurt end in one line within a second, through the binary.
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <chrono>

#include "cli/program.h"
#include "loaders/temporary_directory.h"

namespace {

namespace fs = std::filesystem;
using mora::test::content;

struct HostileFile : ::testing::Test {
  mora::test::TemporaryDirectory directory;

  void expect_one_line(const fs::path& path, const std::string& message) const {
    const auto began = std::chrono::steady_clock::now();
    const pid_t child =
        mora::test::start_mora({"inspect", path.string()}, "/dev/null", directory / "out.txt", directory / "err.txt");
    EXPECT_EQ(mora::test::exit_code(child), 1) << path;
    EXPECT_LT(std::chrono::steady_clock::now() - began, std::chrono::seconds(1)) << path;
    const std::string text = content(directory / "err.txt");
    EXPECT_NE(text.find(message), std::string::npos) << text;
    EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 1) << text;
  }
};

TEST_F(HostileFile, AGgufOf43BytesThatClaimsTwoToThe63Items) {
  const auto little = [](uint64_t value, int bytes) {
    std::string text;
    for (int i = 0; i < bytes; ++i) text += char(value >> 8 * i & 255);
    return text;
  };
  const std::string array = little(1, 8) + "k" + little(9, 4) + little(4, 4);  // key, an array of u32 …
  const std::string bytes = "GGUF" + little(3, 4) + little(0, 8) + little(1, 8) + array + little(uint64_t{1} << 63, 8);
  expect_one_line(directory.write("a.gguf", bytes.substr(0, 43)), "a.gguf");
  const std::string many = "GGUF" + little(3, 4) + little(uint64_t{1} << 63, 8) + little(1, 8);
  expect_one_line(directory.write("b.gguf", many + std::string(43 - many.size(), '\0')), "do not fit into");
}

TEST_F(HostileFile, AnIndexThatLeavesItsDirectoryADeviceAndAPipe) {
  fs::create_directory(directory / "model");
  fs::copy(fs::path(MORA_SOURCE_DIR) / "tests/goldens/models/llama/config.json", directory / "model");
  directory.write("model/model.safetensors.index.json", R"({"weight_map":{"a":"../../etc/passwd"}})");
  expect_one_line(directory / "model", "../../etc/passwd");
  fs::create_symlink("/dev/zero", directory / "zero.safetensors");
  expect_one_line(directory / "zero.safetensors", "a device, expected a regular file");
  ASSERT_EQ(::mkfifo((directory / "pipe.gguf").c_str(), 0600), 0);
  expect_one_line(directory / "pipe.gguf", "a named pipe, expected a regular file");
}

}  // namespace
