// The pages and tables of runs, through the binary.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "cli/program.h"
#include "loaders/temporary_directory.h"

namespace {

namespace fs = std::filesystem;
using mora::test::content;
using Json = nlohmann::json;

const fs::path source = MORA_SOURCE_DIR;
const std::string minilm = (source / ".cache/models/minilm").string();

struct ReportCommand : ::testing::Test {
  static void SetUpTestSuite() { ASSERT_TRUE(fs::exists(minilm)) << "run tools/fetch.sh first"; }
  mora::test::TemporaryDirectory directory;

  int mora(std::vector<std::string> words) const {
    return mora::test::exit_code(
        mora::test::start_mora(std::move(words), "/dev/null", directory / "out.txt", directory / "err.txt"));
  }
  std::string err() const { return content(directory / "err.txt"); }
  Json result() const {
    const std::string out = content(directory / "out.txt");
    return Json::parse(out.substr(out.rfind('\n', out.size() - 2) + 1));
  }
  std::string train(const std::string& name, const std::string& more) const {
    const std::string data =
        directory.write("data.tsv", "text\tlabel\nA great film.\tgood\nA dull, awful film.\tbad\n").string();
    const std::string run = (directory / name).string();
    const auto file = directory.write(name + ".yaml", "model: " + minilm + "\ndata: {train: " + data +
                                                          ", valid: " + data + "}\nout: " + run + "\n" + more);
    EXPECT_EQ(mora({"train", file.string(), "--quiet"}), 0) << err();
    return run;
  }
  static Json runs_of_page(const fs::path& page) {
    const std::string text = content(page), open = "id=\"data\">";
    const size_t begin = text.find(open) + open.size();
    return Json::parse(text.substr(begin, text.find("</script>", begin) - begin))["runs"];
  }
};

TEST_F(ReportCommand, TheEndOfARunWritesItsPageAndReportWritesItAgain) {
  const std::string run =
      train("run", "train: {steps: 6, epochs: null, batch_size: 2, eval_every: 3, save_every: null}\n");
  const Json page = runs_of_page(fs::path(run) / "report.html")[0];
  std::ifstream lines(fs::path(run) / "metrics.jsonl");
  size_t update = 0, evaluation = 0;
  for (std::string line; std::getline(lines, line);) {
    const Json json = Json::parse(line);
    if (json.contains("valid")) {
      EXPECT_EQ(page["valid"][evaluation]["step"], json["step"]);
      EXPECT_EQ(page["valid"][evaluation++]["loss"], json["valid"]["loss"]);
    } else {
      for (const auto& [name, value] : json.items()) EXPECT_EQ(page["updates"][name][update], value) << name;
      ++update;
    }
  }
  EXPECT_EQ(update, 6u);
  EXPECT_EQ(evaluation, 2u);
  EXPECT_EQ(page["labels"], Json({"bad", "good"}));
  EXPECT_EQ(page["result"]["steps"], 6);
  EXPECT_TRUE(page["environment"]["cpu"].contains("threads"));
  EXPECT_EQ(page["hardest"].size(), 2u);
  EXPECT_NE(page["config"].get<std::string>().find("weight_decay"), std::string::npos);

  fs::remove(fs::path(run) / "report.html");
  ASSERT_EQ(mora({"report", run, "--json"}), 0) << err();
  EXPECT_EQ(result()["path"], (fs::path(run) / "report.html").string());
  EXPECT_EQ(runs_of_page(fs::path(run) / "report.html")[0], page);
}

TEST_F(ReportCommand, CompareSetsRunsSideBySide) {
  const std::string settings = "train: {steps: 2, epochs: null, batch_size: 2, eval_every: null, save_every: null}\n";
  const std::string a = train("a", settings), b = train("b", settings + "optimizer: {lr: 1e-2}\n");
  const std::string page = (directory / "both.html").string();
  ASSERT_EQ(mora({"compare", a, b, "--out", page, "--json"}), 0) << err();
  const Json rows = result()["runs"];
  ASSERT_EQ(rows.size(), 2u);
  EXPECT_EQ(rows[1]["run"], b);
  EXPECT_EQ(rows[1]["updates"], 2);
  EXPECT_EQ(rows[1]["valid_loss"], runs_of_page(page)[1]["valid"][0]["loss"]);

  ASSERT_EQ(mora({"compare", a, b, "--out", page, "--quiet"}), 0) << err();
  const std::string table = content(directory / "out.txt");
  EXPECT_EQ(std::count(table.begin(), table.end(), '\n'), 3) << table;
  EXPECT_NE(table.find("accuracy"), std::string::npos) << table;
  EXPECT_EQ(table.find("perplexity"), std::string::npos) << table;
}

TEST_F(ReportCommand, ASweepTrainsEachPointOnce) {
  const std::string data =
      directory.write("data.tsv", "text\tlabel\nA great film.\tgood\nA dull, awful film.\tbad\n").string();
  const std::string out = (directory / "sweep").string();
  const std::string file =
      directory
          .write("sweep.yaml", "model: " + minilm + "\ndata: {train: " + data + ", valid: " + data + "}\nout: " + out +
                                   "\ntrain: {steps: 1, epochs: null, batch_size: 2, save_every: null}\n")
          .string();
  const std::vector<std::string> words = {
      "sweep", file, "--grid", "optimizer.lr=1e-4,3e-4", "--grid", "adapter.rank=2,4", "--quiet", "--json"};
  ASSERT_EQ(mora(words), 0) << err();
  const Json runs = result()["runs"];
  ASSERT_EQ(runs.size(), 4u);
  EXPECT_EQ(runs[1]["run"], out + "/lr=1e-4_rank=4");
  EXPECT_EQ(runs_of_page(fs::path(out) / "sweep.html").size(), 4u);

  // Again: what is finished stays, what is not is trained.
  const fs::path kept = fs::path(out) / "lr=1e-4_rank=2/metrics.jsonl", lost = fs::path(out) / "lr=3e-4_rank=4";
  const auto written = fs::last_write_time(kept);
  fs::remove_all(lost);
  ASSERT_EQ(mora(words), 0) << err();
  EXPECT_EQ(fs::last_write_time(kept), written);
  EXPECT_TRUE(fs::exists(lost / "adapter/adapter.safetensors"));
  std::vector<std::string> other = words;
  other.insert(other.begin() + 2, "optimizer.weight_decay=0.5");
  EXPECT_EQ(mora(other), 1);
  EXPECT_NE(err().find("has other settings than the sweep now"), std::string::npos) << err();
  EXPECT_EQ(mora({"sweep", file, "--grid", "adapter.rank"}), 1);
  EXPECT_NE(err().find("write it as --grid"), std::string::npos) << err();
}

TEST_F(ReportCommand, WhatCannotBeShownIsOneLine) {
  EXPECT_EQ(mora({"report", (directory / "none").string()}), 1);
  EXPECT_NE(err().find("none/metrics.jsonl: cannot be read"), std::string::npos) << err();
  EXPECT_EQ(mora({"compare", (directory / "none").string()}), 1);
  EXPECT_NE(err().find("name two or more"), std::string::npos) << err();
}

}  // namespace
