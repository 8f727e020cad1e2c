// A long run in small: updates of a tiny BERT with two hundred evaluations, rank events and checkpoints. Its resident
// memory and its open files, seen from outside, do not grow after the first fifth. MORA_TEST_SOAK=20000 asks for so
// many updates.
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <thread>

#include "cli/program.h"
#include "cli/tiny_model.h"

namespace {

namespace fs = std::filesystem;
using mora::test::content;

struct Sample {
  int64_t resident = 0;  // bytes
  int64_t files = 0;     // open
};

Sample sample_of(pid_t process) {
  const fs::path proc = "/proc/" + std::to_string(process);
  Sample sample;
  int64_t total_pages = 0;
  std::ifstream(proc / "statm") >> total_pages >> sample.resident;
  sample.resident *= sysconf(_SC_PAGESIZE);
  std::error_code gone;
  for (fs::directory_iterator entry(proc / "fd", gone), end; !gone && entry != end; entry.increment(gone))
    ++sample.files;
  return sample;
}

int64_t most(const std::vector<Sample>& samples, int64_t Sample::*what) {
  int64_t result = 0;
  for (const Sample& sample : samples) result = std::max(result, sample.*what);
  return result;
}

// The update of the last whole line of a growing metrics.jsonl; 0 before there is one.
int64_t last_step(const fs::path& metrics) {
  std::ifstream file(metrics, std::ios::binary);
  file.seekg(0, std::ios::end);
  const auto size = int64_t(file.tellg());
  if (size <= 0) return 0;
  std::string tail(size_t(std::min<int64_t>(size, 65536)), '\0');
  file.seekg(-int64_t(tail.size()), std::ios::end);
  file.read(tail.data(), int64_t(tail.size()));
  tail.resize(tail.rfind('\n') + 1);
  const size_t at = tail.rfind("{\"step\":");
  return at == std::string::npos ? 0 : std::atoll(tail.c_str() + at + 8);
}

struct Soak : mora::test::TinyModel {};

TEST_F(Soak, MemoryAndOpenFilesDoNotGrow) {
  const char* asked = std::getenv("MORA_TEST_SOAK");
  const int64_t updates = asked ? std::atoll(asked) : 2000;
  write_model();
  const std::string every = std::to_string(updates / 200);
  const std::string config = directory.write(
      "soak.yaml", "model: " + (directory / "model").string() +
                       "\ntask: classification\ndata: {train: " + write_data("train.tsv", 500) +
                       ", valid: " + write_data("valid.tsv", 50) + "}\nout: " + (directory / "run").string() +
                       "\nadapter: {kind: adalora, rank: 3, adapt: {budget: 3, max_rank: 4, start: 0, end: " +
                       std::to_string(updates) + ", interval: " + every +
                       "}}\ntrain: {steps: " + std::to_string(updates) +
                       ", epochs: null, batch_size: 4, eval_every: " + every + ", save_every: " + every + "}\n");
  const pid_t child = mora::test::start_mora({"train", config, "--quiet", "--threads", "1"}, "/dev/null",
                                             directory / "out.txt", directory / "err.txt");
  std::vector<Sample> early, late;  // of the updates after warm-up, and of the last
  const int64_t tenth = updates / 10;
  int status = 0;
  while (waitpid(child, &status, WNOHANG) == 0) {
    const int64_t step = last_step(directory / "run/metrics.jsonl");
    const Sample sample = sample_of(child);
    if (step >= 2 * tenth && step < 4 * tenth) early.push_back(sample);
    if (step >= 8 * tenth && step < updates - tenth / 10) late.push_back(sample);
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  ASSERT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << content(directory / "err.txt");
  ASSERT_GT(std::min(early.size(), late.size()), 20u);
  const int64_t before = most(early, &Sample::resident), after = most(late, &Sample::resident);
  RecordProperty("resident_before", before);
  RecordProperty("resident_after", after);
  EXPECT_LT(after, before + before / 100);
  EXPECT_LE(most(late, &Sample::files), most(early, &Sample::files));
}

}  // namespace
