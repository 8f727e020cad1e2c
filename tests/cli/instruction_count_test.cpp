// The instructions of a small training step, as callgrind counts them: unlike time they are the same on a loaded
// machine, so that a slowdown shows. On an emulated processor, which has no AVX-512.
#include <gtest/gtest.h>

#include <cstdlib>

#include "cli/program.h"
#include "cli/tiny_model.h"

namespace {

namespace fs = std::filesystem;
using mora::test::content;

struct InstructionCount : mora::test::TinyModel {
  // Of a run of so many updates of 16 rows of 8 tokens, from its start to its end.
  int64_t of_updates(int updates) const {
    const std::string run = (directory / ("run" + std::to_string(updates))).string();
    const std::string command = fmt::format(
        "OMP_NUM_THREADS=1 GOMP_SPINCOUNT=2000 valgrind --tool=callgrind --callgrind-out-file=/dev/null {} train {} "
        "out={} "
        "train.steps={} --quiet 2>{}.err",
        MORA_PROGRAM, (directory / "count.yaml").string(), run, updates, run);
    EXPECT_EQ(std::system(command.c_str()), 0) << content(run + ".err");
    const std::string report = content(run + ".err"), mark = "Collected : ";
    const size_t at = report.find(mark);
    EXPECT_NE(at, std::string::npos) << report;
    return at == std::string::npos ? 0 : std::atoll(report.c_str() + at + mark.size());
  }
};

// The ceiling is half as much again as was counted when it was last set.
TEST_F(InstructionCount, OfATrainingStep) {
#ifdef MORA_SANITIZED
  GTEST_SKIP() << "instrumented code takes more";
#endif
  if (std::system("command -v valgrind >/dev/null") != 0) GTEST_SKIP() << "no valgrind here";
  write_model();
  directory.write("count.yaml",
                  "model: " + (directory / "model").string() +
                      "\ntask: classification\ndata: {train: " + write_data("train.tsv", 500) +
                      "}\nadapter: {kind: mora, rank: 4, operator: sharing}\ntrain: {epochs: null, batch_size: 16, "
                      "eval_every: null, save_every: null}\n");
  const int64_t step = (of_updates(15) - of_updates(5)) / 10;
  RecordProperty("instructions_per_step", std::to_string(step));
  EXPECT_GT(step, 1'000'000);
  EXPECT_LT(step, 16'000'000);
}

}  // namespace
