// The page of a run: what it carries is what metrics.jsonl says.
#include "mora/report/report.h"

#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "engine/error.h"
#include "loaders/temporary_directory.h"

namespace mora {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::string_view kMetrics = R"({"step":0,"event":{"kind":"ranks","mean_rank":8.0,"ranks":{"a":8,"b":8}}}
{"step":1,"loss":0.7,"lr":0.001,"grad_norm":1.5}
{"step":2,"event":{"kind":"skipped_update","reason":"the loss is not finite"}}
{"step":3,"loss":0.6,"lr":0.002,"grad_norm":null,"mean_rank":6.5}
{"step":3,"valid":{"loss":0.65,"accuracy":0.75,"confusion":[[3,1],[1,3]]}}
{"step":4,"lo)";

struct Report : ::testing::Test {
  test::TemporaryDirectory run;
  void SetUp() override { run.write("metrics.jsonl", kMetrics); }

  std::string page() const {
    std::ifstream in(run / "report.html", std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
  }
  // What the page's script draws.
  Json data_of_page() const {
    const std::string text = page(), open = "<script type=\"application/json\" id=\"data\">";
    const size_t begin = text.find(open) + open.size();
    return Json::parse(text.substr(begin, text.find("</script>", begin) - begin));
  }
};

TEST_F(Report, UpdatesAreColumnsWithNullWhereALineLacksTheField) {
  const Json updates = read_run(run.path())["updates"];
  EXPECT_EQ(updates["step"], Json({1, 3}));
  EXPECT_EQ(updates["loss"], Json({0.7, 0.6}));
  EXPECT_EQ(updates["grad_norm"], Json({1.5, nullptr}));
  EXPECT_EQ(updates["mean_rank"], Json({nullptr, 6.5}));
}

TEST_F(Report, EvaluationsAndEventsKeepTheirSteps) {
  const Json data = read_run(run.path());
  ASSERT_EQ(data["valid"].size(), 1u);
  EXPECT_EQ(data["valid"][0]["step"], 3);
  EXPECT_EQ(data["valid"][0]["accuracy"], 0.75);
  ASSERT_EQ(data["events"].size(), 2u);
  EXPECT_EQ(data["events"][0]["ranks"]["b"], 8);
  EXPECT_EQ(data["events"][1]["kind"], "skipped_update");
}

TEST_F(Report, CalibrationCountsRightPredictionsByConfidence) {
  run.write("valid.jsonl",
            R"({"text":"x","truth":"p","predicted":"p","confidence":0.95,"loss":0.05}
{"text":"y","truth":"n","predicted":"p","confidence":0.91,"loss":2.4}
{"text":"z","truth":"n","predicted":"n","confidence":1.0,"loss":0.0}
{"text":"w","truth":"n","predicted":"n","confidence":0.55,"loss":0.6}
)");
  const Json data = read_run(run.path()), bins = data["calibration"];
  ASSERT_EQ(bins.size(), 2u);
  EXPECT_EQ(bins[0]["rows"], 1);
  EXPECT_EQ(bins[0]["accuracy"], 1.0);
  EXPECT_EQ(bins[1]["rows"], 3);
  EXPECT_DOUBLE_EQ(bins[1]["accuracy"].get<double>(), 2.0 / 3);
  EXPECT_NEAR(bins[1]["confidence"].get<double>(), (0.95 + 0.91 + 1.0) / 3, 1e-12);
  EXPECT_EQ(data["hardest"][0]["text"], "y");
  EXPECT_EQ(data["hardest"].size(), 4u);
}

TEST_F(Report, ThePageCarriesTheRunAndAsksForNothing) {
  run.write("valid.jsonl", "{\"text\":\"</script><b>\",\"truth\":1.0,\"predicted\":0.5,\"loss\":0.25}\n");
  EXPECT_EQ(write_report(run.path()), run / "report.html");
  const Json data = data_of_page();
  ASSERT_EQ(data["runs"].size(), 1u);
  EXPECT_EQ(data["runs"][0], read_run(run.path()));
  EXPECT_EQ(data["runs"][0]["hardest"][0]["text"], "</script><b>");

  std::string text = page();
  const std::string name_space = "http://www.w3.org/2000/svg";
  text.erase(text.find(name_space), name_space.size());
  for (const char* request : {"http:", "https:", "src=", "@import", "url("})
    EXPECT_EQ(text.find(request), std::string::npos) << request;
  for (const char* mark : {"/*STYLE*/", "/*SCRIPT*/", "/*DATA*/"}) EXPECT_EQ(text.find(mark), std::string::npos);
}

TEST_F(Report, TheCommandQuotesWhatAShellWouldSplit) {
  const auto odd = run / "my run's";
  std::filesystem::create_directory(odd);
  std::filesystem::copy_file(run / "metrics.jsonl", odd / "metrics.jsonl");
  const std::string command = read_run(odd)["command"];
  EXPECT_NE(command.find("my run'\\''s/config.yaml'"), std::string::npos) << command;
}

TEST_F(Report, WhatIsNoRunOrDamagedIsNamed) {
  const auto message = [](const std::filesystem::path& path) -> std::string {
    try {
      read_run(path);
    } catch (const IoError& error) {
      return error.what();
    }
    return "";
  };
  EXPECT_NE(message(run / "nothing").find("nothing/metrics.jsonl: cannot be read"), std::string::npos);
  run.write("metrics.jsonl", "{\"step\":1,\"loss\":0.5}\nnot json\n");
  EXPECT_NE(message(run.path()).find("metrics.jsonl:2: not a JSON object"), std::string::npos);
}

}  // namespace
}  // namespace mora
