// Runs on MiniLM and movie reviews in a temporary directory.
#pragma once

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "goldens/formula.h"
#include "loaders/json.h"
#include "loaders/temporary_directory.h"
#include "mora/models/registry.h"
#include "mora/peft_directory.h"
#include "mora/training/trainer.h"

namespace mora::test {

inline const std::filesystem::path source = MORA_SOURCE_DIR;
inline const std::string minilm = (source / ".cache/models/minilm").string();
inline const std::string reviews = (source / ".cache/data/reviews.train.tsv").string();

struct TrainerFixture : ::testing::Test {
  static void SetUpTestSuite() {
    ASSERT_TRUE(std::filesystem::exists(minilm) && std::filesystem::exists(reviews)) << "run tools/fetch.sh first";
  }
  TemporaryDirectory directory;

  std::vector<nlohmann::json> metrics(const std::string& run) const {
    std::ifstream lines(directory / run / "metrics.jsonl");
    std::vector<nlohmann::json> result;
    for (std::string line; std::getline(lines, line);) result.push_back(nlohmann::json::parse(line));
    return result;
  }

  Config config(const std::string& run, const std::string& more) const {
    return parse_config("model: " + minilm + "\ndata: {train: " + reviews +
                            ", shuffle: false, label: label}\nout: " + (directory / run).string() + "\n" + more,
                        "test.yaml");
  }

  static std::string adapter_bytes(const std::filesystem::path& run) {
    return read_bytes(run / "adapter" / "adapter.safetensors");
  }
};

// Sets a tensor to the values of goldens/formula.h.
inline void set_by_formula(Tensor& value, const std::string& key, double bound) {
  float* values = value.mutable_data<float>();
  for (int64_t i = 0; i < value.numel(); ++i) values[i] = float(goldens::formula_value(key, uint64_t(i), bound));
}

inline std::filesystem::path saved(const std::filesystem::path& path, MoRAModel& model, const AdapterInfo& info) {
  std::filesystem::create_directory(path);
  save_adapter(path, model, info);
  return path;
}

}  // namespace mora::test
