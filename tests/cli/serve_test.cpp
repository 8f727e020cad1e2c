// mora serve as a program: its address on stdout, its answers, its end.
#include <gtest/gtest.h>

#include <thread>

#include "cli/program.h"
#include "loaders/temporary_directory.h"
#include "serving/client.h"

namespace {

using mora::test::content;

const std::string smollm2 = MORA_SOURCE_DIR "/.cache/models/SmolLM2-135M-Instruct.Q4_1.gguf";

struct ServeCommand : ::testing::Test {
  static void SetUpTestSuite() { ASSERT_TRUE(std::filesystem::exists(smollm2)) << "run tools/fetch.sh first"; }
  mora::test::TemporaryDirectory directory;

  pid_t start(std::vector<std::string> words) const {
    words.insert(words.begin(), {"serve", "--model", smollm2});
    return mora::test::start_mora(std::move(words), "/dev/null", directory / "out.txt", directory / "err.txt");
  }
  // The first line of stdout, once it is there.
  std::string address() const {
    for (int i = 0; i < 2000; ++i) {
      const std::string out = content(directory / "out.txt");
      if (out.find('\n') != std::string::npos) return out.substr(0, out.find('\n'));
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    return "";
  }
};

TEST_F(ServeCommand, ItAnswersUntilItIsTold) {
  const pid_t server = start({"--port", "0", "--json"});
  const std::string url = address();
  ASSERT_TRUE(url.starts_with("http://127.0.0.1:") && url.ends_with("/v1")) << url << content(directory / "err.txt");
  const int port = std::stoi(url.substr(17));
  const auto reply = mora::test::post(port, "/v1/completions",
                                      {{"model", "SmolLM2-135M-Instruct.Q4_1"}, {"prompt", "One, two,"}, {"n", 2}});
  EXPECT_EQ(reply.status, 200) << reply.body;
  EXPECT_EQ(mora::test::exit_code(start({"--port", std::to_string(port)})), 1);
  const std::string err = content(directory / "err.txt");
  EXPECT_NE(err.find("error: --port " + std::to_string(port) + ": Address already in use"), std::string::npos) << err;
  kill(server, SIGTERM);
  EXPECT_EQ(mora::test::exit_code(server), 143);
}

TEST_F(ServeCommand, WrongUseIsOneLine) {
  const auto error = [&](std::vector<std::string> words) {
    EXPECT_EQ(mora::test::exit_code(start(std::move(words))), 1);
    return content(directory / "err.txt");
  };
  EXPECT_EQ(error({"--context", "100000"}), "error: --context 100000: the model was trained for 8192 tokens\n");
  EXPECT_EQ(error({"--adapter", "x=/nowhere"}),
            "error: /nowhere: no adapter here: neither mora_config.json nor adapter_config.json\n");
}

}  // namespace
