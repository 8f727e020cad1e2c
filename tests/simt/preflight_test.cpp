// A run that the card's memory is too small for is refused before anything is brought there.
#include "cuda/training_run.h"
#include "cuda/twin.h"
#include "engine/cuda.h"
#include "mora/training/memory_plan.h"
#include "simt/device_memory.h"

namespace mora::test {
namespace {

struct Preflight : TrainingOnDevice {
  Config c = (write_model("llama"), config("task: causal_lm\nadapter: {kind: lora, rank: 4}\n", "cuda"));
  const int64_t before = simt::emulator::memory_bytes;
  ~Preflight() override { simt::emulator::memory_bytes = before; }
};

TEST_F(Preflight, TheErrorSaysWhatIsNeededAndWhatIsFree) {
  simt::emulator::memory_bytes = 100'000'000;  // less than the workspace alone
  try {
    train(c, {.quiet = true});
    FAIL() << "a run in too little memory";
  } catch (const DeviceError& error) {
    const std::string text = error.what();
    EXPECT_TRUE(text.starts_with("device: cuda: the run needs 0.1")) << text;
    EXPECT_NE(text.find("and 0.10 are free; smaller batches"), std::string::npos) << text;
  }
  EXPECT_EQ(cuda::memory_stats(0).live_bytes, 0);
  EXPECT_FALSE(std::filesystem::exists(c.out)) << "a run that never began has left a directory";
}

TEST_F(Preflight, ThePlanIsNearWhatTheCardGives) {
  const MemoryPlan shapes = plan_memory(c, false), measured = plan_memory(c, true);
  EXPECT_EQ(shapes.steps, 3);
  EXPECT_GT(*measured.seconds_per_step, 0);
  EXPECT_GT(measured.activation_bytes, 0);
  EXPECT_EQ(measured.weights_bytes, shapes.weights_bytes);
  const auto of_run = [](const MemoryPlan& plan) {
    return double(plan.weights_bytes + plan.adapter_bytes + plan.optimizer_bytes);
  };
  EXPECT_NEAR(of_run(measured), of_run(shapes), 1);
}

}  // namespace
}  // namespace mora::test
