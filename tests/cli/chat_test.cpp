// A conversation through the binary, with SmolLM2.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "cli/program.h"
#include "loaders/temporary_directory.h"

namespace {

using mora::test::content;

const std::string smollm2 = MORA_SOURCE_DIR "/.cache/models/SmolLM2-135M-Instruct.Q4_1.gguf";

struct ChatCommand : ::testing::Test {
  static void SetUpTestSuite() { ASSERT_TRUE(std::filesystem::exists(smollm2)) << "run tools/fetch.sh first"; }
  mora::test::TemporaryDirectory directory;

  std::string mora(std::vector<std::string> words, const std::string& in) const {
    const auto file = directory.write("in.txt", in);
    EXPECT_EQ(mora::test::exit_code(
                  mora::test::start_mora(std::move(words), file, directory / "out.txt", directory / "err.txt")),
              0)
        << content(directory / "err.txt");
    return content(directory / "out.txt");
  }
};

TEST_F(ChatCommand, AnswersStreamAndTheConversationIsRemembered) {
  const std::string told = "My name is Zorblax.", question = "What is my name?";
  const auto alone = [&](const std::string& message) {
    return mora({"generate", "--model", smollm2, "--chat", message, "--max-tokens", "12", "--quiet"}, "");
  };
  const std::string first = alone(told), last = alone(question);
  std::string out = mora({"chat", "--model", smollm2, "--max-tokens", "12", "--json"},
                         told + "\n" + question + "\n/clear\n" + question + "\n/exit\nnot asked\n");
  const size_t result = out.rfind('{');
  EXPECT_EQ(nlohmann::json::parse(out.substr(result))["answers"], 3);
  out.resize(result);
  ASSERT_TRUE(out.starts_with(first)) << out;
  ASSERT_TRUE(out.ends_with(last)) << out;  // forgotten: as if nothing had been said
  EXPECT_NE(out.substr(first.size(), out.size() - first.size() - last.size()), last) << "the name is not remembered";
}

TEST_F(ChatCommand, ACommandThatCannotBeMeantSaysSo) {
  EXPECT_EQ(mora({"chat", "--model", smollm2}, "/adapter\n/again\n/adaptr\n"), "");
  const std::string err = content(directory / "err.txt");
  for (const char* message :
       {"no adapter was given (--adapter DIR)", "nothing was answered yet", "unknown command /adaptr"})
    EXPECT_NE(err.find(message), std::string::npos) << err;
}

}  // namespace
