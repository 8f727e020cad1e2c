// Texts that a language model writes while it is trained (train.sample): what they are, and that they change nothing.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "cli/program.h"
#include "loaders/temporary_directory.h"

namespace {

namespace fs = std::filesystem;
using mora::test::content;
using Json = nlohmann::json;

const fs::path smollm2 = fs::path(MORA_SOURCE_DIR) / ".cache/models/SmolLM2-135M-Instruct.Q4_1.gguf";

struct SampleTexts : ::testing::Test {
  static void SetUpTestSuite() { ASSERT_TRUE(fs::exists(smollm2)) << "run tools/fetch.sh first"; }

  void mora(std::vector<std::string> words) const {
    const pid_t child =
        mora::test::start_mora(std::move(words), "/dev/null", directory / "out.txt", directory / "err.txt");
    ASSERT_EQ(mora::test::exit_code(child), 0) << content(directory / "err.txt");
  }
  std::string config(const std::string& run, const std::string& more) const {
    const std::string data = directory.write("data.txt", "The dog sat.\nSnow fell all night.\nIt rained.\n").string();
    return directory
        .write(run + ".yaml", "model: " + smollm2.string() + "\ntask: causal_lm\ndata: {train: " + data +
                                  "}\nout: " + (directory / run).string() +
                                  "\nadapter: {kind: lora, rank: 2, targets: [q_proj], dropout: 0.1}\n"
                                  "optimizer: {lr: 1e-2}\ntrain:\n  {steps: 5, epochs: null, batch_size: 2, "
                                  "eval_every: null, save_every: 2, keep: 9" +
                                  more + "}\n")
        .string();
  }
  // metrics.jsonl without times; of sample texts alone, or of all else.
  std::vector<Json> lines(const std::string& run, bool samples) const {
    std::ifstream file(directory / run / "metrics.jsonl");
    std::vector<Json> result;
    for (std::string line; std::getline(file, line);) {
      Json json = Json::parse(line);
      for (const char* key : {"seconds", "tokens_per_second"}) json.erase(key);
      if ((json.contains("event") && json["event"]["kind"] == "sample") == samples) result.push_back(json);
    }
    return result;
  }

  mora::test::TemporaryDirectory directory;
};

TEST_F(SampleTexts, AreTheModelsOwnAndChangeNothingThatIsTrained) {
  const std::string sampled = config("sampled", ", sample: {prompts: [The cat, Rain fell], every: 2, max_tokens: 6}");
  mora({"train", sampled});
  const std::string shown = content(directory / "err.txt");
  mora({"train", config("plain", ""), "--quiet"});
  EXPECT_EQ(lines("sampled", false), lines("plain", false));
  EXPECT_EQ(content(directory / "sampled/adapter/adapter.safetensors"),
            content(directory / "plain/adapter/adapter.safetensors"));

  const std::vector<Json> samples = lines("sampled", true);
  ASSERT_EQ(samples.size(), 6U);  // two prompts after the updates 2, 4, 5
  EXPECT_EQ(samples[3]["step"], 4);
  EXPECT_EQ(samples[3]["event"]["prompt"], "Rain fell");
  EXPECT_NE(samples[0]["event"]["text"], samples[4]["event"]["text"]) << "three updates at this rate changed nothing";
  mora({"generate", "--model", smollm2.string(), "--adapter", (directory / "sampled/adapter").string(), "--prompt",
        "The cat", "--prompt", "Rain fell", "--max-tokens", "6", "--json", "--quiet"});
  const std::string out = content(directory / "out.txt");
  const Json generated = Json::parse(out.substr(out.rfind('\n', out.size() - 2) + 1))["results"];
  for (size_t i = 0; i < 2; ++i) EXPECT_EQ(samples[4 + i]["event"]["text"], generated[i]["text"]);

  EXPECT_NE(shown.find("step 5: 'Rain fell' → '"), std::string::npos) << shown;
  std::string events;
  for (const auto& entry : fs::directory_iterator(directory / "sampled"))
    if (entry.path().filename().string().starts_with("events.out")) events = content(entry.path());
  EXPECT_NE(events.find("sample/Rain fell"), std::string::npos);
  const std::string page = content(directory / "sampled/report.html"), open = "id=\"data\">";
  const size_t begin = page.find(open) + open.size();
  const Json run = Json::parse(page.substr(begin, page.find("</script>", begin) - begin))["runs"][0];
  ASSERT_EQ(run["events"].size(), 6U);
  EXPECT_EQ(run["events"][5]["text"], samples[5]["event"]["text"]);

  // Resumed from the second update, the run writes the same texts again, each once.
  fs::remove_all(directory / "sampled/checkpoints/step-000004");
  fs::remove_all(directory / "sampled/checkpoints/step-000005");
  mora({"train", sampled, "--resume", "--quiet"});
  EXPECT_EQ(lines("sampled", true), samples);
  EXPECT_EQ(lines("sampled", false), lines("plain", false));
}

}  // namespace
