// A command whose memory runs out at the n-th `operator new` (preload/failing_allocations.cpp), which is also where the
// engine's allocators get theirs: one line and exit code 1, or a run that is whole; never a crash. What an update does
// then, allocation by allocation: tests/faults/allocation_test.cpp.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <random>

#include "cli/program.h"
#include "loaders/temporary_directory.h"

namespace {

namespace fs = std::filesystem;
using mora::test::content;

struct OutOfMemory : ::testing::Test {
  static constexpr const char* kVariables[] = {"LD_PRELOAD", "MORA_COUNT_ALLOCATIONS", "MORA_FAIL_ALLOCATION",
                                               "MORA_FAIL_ALL_AFTER"};
  mora::test::TemporaryDirectory directory;

  void SetUp() override { setenv("GOMP_SPINCOUNT", "2000", 1); }  // or the program starts itself twice
  void TearDown() override {
    for (const char* name : kVariables) unsetenv(name);
  }

  // Trains, or goes on, in directory / `run`. Gives the exit code.
  int train(const std::string& run) const {
    const fs::path source = MORA_SOURCE_DIR, out = directory / run;
    const std::string config = directory.write(
        run + ".yaml", "model: " + (source / ".cache/models/minilm").string() + "\ndata: {train: " +
                           (source / ".cache/data/reviews.train.tsv").string() + "}\nout: " + out.string() +
                           "\nadapter: {kind: adalora, rank: 4, adapt: {budget: 2, start: 0, end: 2, interval: 1}}\n"
                           "train: {steps: 2, epochs: null, batch_size: 2, eval_every: null, save_every: 1}\n");
    std::vector<std::string> words = {"train", config, "--quiet"};
    if (fs::exists(out)) words.push_back("--resume");
    setenv("LD_PRELOAD", MORA_FAILING_ALLOCATIONS, 1);
    const pid_t child =
        mora::test::start_mora(std::move(words), "/dev/null", directory / "out.txt", directory / "err.txt");
    unsetenv("LD_PRELOAD");
    return mora::test::exit_code(child);
  }
  std::string adapter(const std::string& run) const { return content(directory / run / "adapter/adapter.safetensors"); }
};

// MORA_TEST_ALLOCATIONS: at how many places, drawn evenly, half of them with all that follow.
TEST_F(OutOfMemory, EndsInOneLineAndTheRunGoesOnWhereItWas) {
  setenv("MORA_COUNT_ALLOCATIONS", (directory / "count").c_str(), 1);
  ASSERT_EQ(train("whole"), 0) << content(directory / "err.txt");
  unsetenv("MORA_COUNT_ALLOCATIONS");
  const int64_t all = std::atoll(content(directory / "count").c_str());
  ASSERT_GT(all, 100000);

  const char* asked = std::getenv("MORA_TEST_ALLOCATIONS");
  std::mt19937_64 random(1);
  int failures = 0;
  for (int i = 0, places = asked ? std::atoi(asked) : 40; i < places; ++i) {
    const std::string n = std::to_string(random() % uint64_t(all));
    setenv("MORA_FAIL_ALLOCATION", n.c_str(), 1);
    i % 2 ? setenv("MORA_FAIL_ALL_AFTER", "1", 1) : unsetenv("MORA_FAIL_ALL_AFTER");
    const int code = train("starved");
    const std::string text = content(directory / "err.txt");
    if (code == 0) {  // what failed could be done without, or the rest of a run needs less
      ASSERT_EQ(adapter("starved"), adapter("whole")) << "allocation " << n;
      fs::remove_all(directory / "starved");
      continue;
    }
    ASSERT_EQ(code, 1) << "allocation " << n << ": " << text;
    ASSERT_TRUE(text.starts_with("error: out of memory")) << "allocation " << n << ": " << text;
    ASSERT_EQ(std::count(text.begin(), text.end(), '\n'), 1) << text;
    ++failures;
  }
  EXPECT_GT(failures, 0);
  unsetenv("MORA_FAIL_ALLOCATION");
  ASSERT_EQ(train("starved"), 0) << content(directory / "err.txt");
  EXPECT_EQ(adapter("starved"), adapter("whole"));
}

}  // namespace
