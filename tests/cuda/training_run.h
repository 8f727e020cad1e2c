// Runs of a tiny model on the processor and on the device, side by side.
#pragma once

#include <fstream>

#include "cli/tiny_model.h"
#include "mora/training/trainer.h"

namespace mora::test {

// Whether a launch on the emulator runs in one order of threads only; null on a card.
[[gnu::weak]] void one_order_a_launch(bool one);

struct TrainingOnDevice : TinyModel {
  // That the order does not matter is for the kernels' own cases, of many more shapes.
  TrainingOnDevice() {
    if (one_order_a_launch) one_order_a_launch(true);
  }
  ~TrainingOnDevice() override {
    if (one_order_a_launch) one_order_a_launch(false);
  }
  // Three updates of batches of 4. `settings` stand behind model, data, out and device; with tasks in them, DATA is the
  // rows of each.
  Config config(std::string settings, const std::string& on) const {
    const std::string data =
        fmt::format("{{train: {}, valid: {}}}", write_data("train.tsv", 12), write_data("valid.tsv", 6));
    if (settings.find("tasks:") == std::string::npos) settings = "data: DATA\n" + settings;
    for (size_t at; (at = settings.find("DATA")) != std::string::npos;) settings.replace(at, 4, data);
    settings = fmt::format("model: {}\nout: {}\ndevice: {}\n{}", (directory / "model").string(),
                           (directory / on).string(), on, settings);
    return parse_config(settings, "run.yaml",
                        std::vector<std::string>{"train.steps=3", "train.epochs=null", "train.batch_size=4"});
  }
  std::vector<double> losses(const std::string& out) const {
    std::ifstream lines(directory / out / "metrics.jsonl");
    std::vector<double> result;
    for (std::string line; std::getline(lines, line);)
      if (const auto json = nlohmann::json::parse(line); json.contains("loss")) result.push_back(json["loss"]);
    return result;
  }
  std::string adapter(const std::string& out) const {
    return read_bytes(directory / out / "adapter" / "adapter.safetensors");
  }
  // Losses of the runs `cpu` and `cuda` to `tolerance`, relative; and that they moved.
  void expect_same_losses(size_t updates, double tolerance) const {
    const std::vector<double> here = losses("cpu"), there = losses("cuda");
    ASSERT_EQ(here.size(), updates);
    ASSERT_EQ(there.size(), updates);
    for (size_t i = 0; i < updates; ++i) EXPECT_NEAR(there[i], here[i], tolerance * here[i]) << "update " << i + 1;
    EXPECT_NE(here.front(), here.back());
  }
};

}  // namespace mora::test
