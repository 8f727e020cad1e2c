// mora init over the kinds of data there are: what it writes is planned and trained as it stands.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "cli/program.h"
#include "loaders/temporary_directory.h"

namespace {

using mora::test::content;

const std::string cache = MORA_SOURCE_DIR "/.cache/", minilm = cache + "models/minilm",
                  smollm2 = cache + "models/SmolLM2-135M-Instruct.Q4_1.gguf";

struct InitCommand : ::testing::Test {
  static void SetUpTestSuite() { ASSERT_TRUE(std::filesystem::exists(smollm2)) << "run tools/fetch.sh first"; }
  mora::test::TemporaryDirectory directory;
  const std::string config = (directory / "first.yaml").string();

  int run(std::vector<std::string> words) const {
    return mora::test::exit_code(
        mora::test::start_mora(std::move(words), "/dev/null", directory / "out.txt", directory / "err.txt"));
  }
  std::string out() const { return content(directory / "out.txt"); }
  std::string err() const { return content(directory / "err.txt"); }

  // Of the first rows of a data file, so that planning and training are short.
  std::string head_of(const std::string& name, int lines) const {
    std::ifstream in(cache + "data/" + name);
    EXPECT_TRUE(in.good()) << name;
    std::string text, line;
    for (int i = 0; i < lines && std::getline(in, line); ++i) text += line + "\n";
    return directory.write(name, text).string();
  }

  void expect_trainable(const std::string& model, const std::string& data, const std::string& task,
                        std::vector<std::string> more = {}) const {
    std::vector<std::string> words = {"init", model, head_of(data, 200), "--out", config, "--force", "--json"};
    words.insert(words.end(), more.begin(), more.end());
    ASSERT_EQ(run(words), 0) << err();
    EXPECT_EQ(nlohmann::json::parse(out())["task"], task);
    ASSERT_EQ(run({"plan", config, "--no-measure", "--json"}), 0) << err() << content(config);
    ASSERT_EQ(
        run({"train", config, "train.epochs=null", "train.steps=1", "train.batch_tokens=null", "train.batch_size=2",
             "data.valid_fraction=null", "--quiet", "out=" + (directory / ("run." + task + data)).string()}),
        0)
        << err() << content(config);
  }
};

TEST_F(InitCommand, FiveKindsOfDataAreTrainedAsItSays) {
  expect_trainable(minilm, "reviews.train.tsv", "classification");
  expect_trainable(minilm, "reviews.train.tsv", "regression", {"--label", "rating"});
  expect_trainable(smollm2, "editorials.train.tsv", "causal_lm");
  expect_trainable(smollm2, "instructions.train.jsonl", "causal_lm");
  expect_trainable(smollm2, "chats.train.jsonl", "causal_lm");
}

TEST_F(InitCommand, AFileThatIsThereStays) {
  const std::string data = head_of("reviews.train.tsv", 50);
  directory.write("first.yaml", "mine\n");
  EXPECT_EQ(run({"init", minilm, data, "--out", config}), 1);
  EXPECT_EQ(err(), "error: " + config + ": is there already; --force writes over it\n");
  EXPECT_EQ(content(config), "mine\n");
  EXPECT_EQ(run({"init", minilm, data, "--out", config, "--force"}), 0);
  EXPECT_EQ(content(config), out());
  EXPECT_NE(out().find("task: classification"), std::string::npos) << out();
}

}  // namespace
