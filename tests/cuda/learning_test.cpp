// Continual runs, meta-training and adaptation on the emulated device, as on the processor; sharpness too.
#include "cuda/training_run.h"
#include "cuda/twin.h"
#include "mora/learning/meta_train.h"
#include "mora/training/inference.h"
#include "mora/training/sharpness.h"

namespace mora::test {
namespace {

constexpr double tolerance = 1e-3;  // relative

struct Learning : TrainingOnDevice {
  Learning() { write_model(); }
};

TEST_F(Learning, TasksInTurn) {
  for (const char* settings : {"adapter: {kind: mora, rank: 4}\ncontinual: {kind: ewc}\n",
                               "adapter: {kind: lora, rank: 2}\ncontinual: {kind: olora}\n",
                               "adapter: {kind: lora, rank: 2}\ncontinual: {kind: replay, buffer: 5}\n"}) {
    SCOPED_TRACE(settings);
    const std::string text =
        std::string("tasks: [{name: a, data: DATA}, {name: b, data: DATA}]\noptimizer: {lr: 0.01}\n") + settings;
    for (const char* on : {"cpu", "cuda"}) {
      std::filesystem::remove_all(directory / on);
      train(config(text, on), {.quiet = true});
    }
    expect_same_losses(6, tolerance);
  }
}

TEST_F(Learning, MetaTrainingAndAdaptation) {
  const std::string text =
      "tasks: [{name: a, data: DATA}, {name: b, data: DATA}]\nadapter: {kind: lora, rank: 2}\n"
      "meta: {inner_lr: 0.05, inner_steps: 1, shots: 1, queries: 1, tasks_per_step: 1, kind: ";
  for (const char* kind : {"reptile", "metasgd"}) {  // which is MAML with rates of its own
    SCOPED_TRACE(kind);
    std::vector<double> adapted;
    for (const char* on : {"cpu", "cuda"}) {
      std::filesystem::remove_all(directory / on);
      const Config c = config(text + kind + "}\n", on);
      meta_train(c, {.quiet = true});
      AdaptOptions options{.meta = c.out, .data = {}, .out = (directory / "adapted").string(), .steps = 1, .rate = {}};
      options.data.train = {write_data("examples.tsv", 6)};
      options.device = parse_device(on);
      adapted.push_back(adapt(options).train_loss);
    }
    expect_same_losses(3, tolerance);
    EXPECT_NEAR(adapted[1], adapted[0], tolerance * adapted[0]);
  }
}

TEST_F(Learning, Sharpness) {
  const Config c = config("adapter: {kind: lora, rank: 2}\noptimizer: {lr: 0.01}\n", "cpu");
  train(c, {.quiet = true});
  std::vector<mora::Sharpness> measured;
  for (const Device on : {cpu, device}) {
    const InferenceModel opened = open_for_inference(c.model, directory / "cpu/adapter", on);
    const TaskData rows = labelled_data(opened, c.model, c.task, *c.data);
    measured.push_back(measure_sharpness(*opened.model, rows, c.task, {.iterations = 1, .points = 1}));
  }
  EXPECT_NEAR(measured[1].loss, measured[0].loss, tolerance * measured[0].loss);
  EXPECT_NEAR(measured[1].hessian.largest, measured[0].hessian.largest, 0.01 * std::abs(measured[0].hessian.largest));
  EXPECT_NEAR(measured[1].curve[0].loss, measured[0].curve[0].loss, tolerance * measured[0].loss);
}

}  // namespace
}  // namespace mora::test
