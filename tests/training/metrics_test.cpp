// Metrics against scikit-learn and SciPy (tests/goldens/write_metric_goldens.py) and against cases worked by hand.
#include "mora/training/metrics.h"

#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>

#include "engine/error.h"

namespace mora {
namespace {

nlohmann::json goldens(const char* task) {
  std::ifstream file(MORA_SOURCE_DIR "/tests/goldens/metrics.json");
  return nlohmann::json::parse(file).at(task);
}

void expect_metric(const MetricReport& report, const nlohmann::json& golden, const char* name) {
  const double value = report.at(name);
  if (golden.at(name).is_null())
    EXPECT_TRUE(std::isnan(value)) << golden.at("name") << ": " << name << " = " << value;
  else
    EXPECT_NEAR(value, golden.at(name).get<double>(), 1e-12) << golden.at("name") << ": " << name;
}

TEST(Metrics, ClassificationAgreesWithScikitLearn) {
  for (const auto& golden : goldens("classification")) {
    const auto truth = golden.at("truth").get<std::vector<int64_t>>();
    const auto table = golden.at("probabilities").get<std::vector<double>>();
    const MetricReport report = classification_metrics(truth, table, golden.at("classes"));
    for (const char* name : {"accuracy", "f1_macro", "f1_weighted", "f1_micro", "mcc", "roc_auc", "log_loss"})
      expect_metric(report, golden, name);
    EXPECT_EQ(report.confusion, golden.at("confusion").get<std::vector<int64_t>>()) << golden.at("name");
  }
}

TEST(Metrics, RegressionAgreesWithScikitLearnAndSciPy) {
  for (const auto& golden : goldens("regression")) {
    const MetricReport report = regression_metrics(golden.at("truth").get<std::vector<double>>(),
                                                   golden.at("predicted").get<std::vector<double>>());
    for (const char* name : {"mse", "pearson", "spearman"}) expect_metric(report, golden, name);
  }
}

TEST(Metrics, TiesCountHalfInTheAreaUnderTheCurve) {
  // Scores 0.1 0.4 0.4 0.8 for - - + +: three pairs won, one tied: 3.5 / 4.
  const std::vector<int64_t> truth{0, 0, 1, 1};
  const std::vector<double> table{0.9, 0.1, 0.6, 0.4, 0.6, 0.4, 0.2, 0.8};
  EXPECT_DOUBLE_EQ(roc_auc(truth, table, 2), 3.5 / 4);
}

TEST(Metrics, PerplexityIsTheExponentialOfTheMean) {
  EXPECT_DOUBLE_EQ(perplexity(3 * std::log(7.0), 3), 7.0);
  EXPECT_TRUE(std::isnan(perplexity(0, 0)));
  EXPECT_DOUBLE_EQ(language_metrics(std::log(4.0), 2).at("perplexity"), 2.0);
}

TEST(Metrics, NothingToMeasureIsUndefinedAndNeverACrash) {
  const MetricReport report = classification_metrics({}, {}, 2);
  for (const char* name : {"accuracy", "f1_macro", "roc_auc", "log_loss"})
    EXPECT_TRUE(std::isnan(report.at(name))) << name;
  EXPECT_EQ(report.at("mcc"), 0.0);
  EXPECT_TRUE(std::isnan(regression_metrics({}, {}).at("mse")));
}

TEST(Metrics, NotANumberIsNeverRanked) {
  const double nan = std::nan("");
  EXPECT_TRUE(std::isnan(roc_auc(std::vector<int64_t>{0, 1}, std::vector<double>{nan, nan, 0.5, 0.5}, 2)));
  EXPECT_TRUE(std::isnan(spearman(std::vector<double>{1, 2, nan}, std::vector<double>{1, 2, 3})));
}

TEST(Metrics, ALabelOutOfRangeAndAnUnknownNameSaySo) {
  EXPECT_THROW(classification_metrics(std::vector<int64_t>{2}, std::vector<double>{0.5, 0.5}, 2), ShapeError);
  try {
    regression_metrics(std::vector<double>{1}, std::vector<double>{1}).at("acuracy");
    FAIL();
  } catch (const ConfigError& error) {
    EXPECT_STREQ(error.what(), "metric 'acuracy' is not computed here; there are: mse, pearson, spearman");
  }
}

}  // namespace
}  // namespace mora
