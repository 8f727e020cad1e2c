// The run directory: one writer, lines that survive a kill, directories that appear whole.
#include "mora/training/run_directory.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmath>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>
#include <sstream>

#include "engine/error.h"

namespace mora {
namespace {

namespace fs = std::filesystem;
using Start = RunDirectory::Start;

class RunDirectoryTest : public ::testing::Test {
 protected:
  void SetUp() override {
    path_ = fs::temp_directory_path() /
            (std::string("mora_run_") + ::testing::UnitTest::GetInstance()->current_test_info()->name() +
             std::to_string(getpid()));
    fs::remove_all(path_);
  }
  void TearDown() override { fs::remove_all(path_); }

  std::string metrics() const {
    std::stringstream text;
    text << std::ifstream(path_ / "metrics.jsonl").rdbuf();
    return text.str();
  }
  void write(const fs::path& file, const std::string& text) const { std::ofstream(path_ / file) << text; }

  fs::path path_;
};

TEST_F(RunDirectoryTest, HoldsTheLayoutOfTheContract) {
  RunDirectory run(path_, Start::fresh);
  Config config;
  config.model = "m";
  config.out = path_.string();
  config.data = DataConfig{};
  config.data->train = {"t.tsv"};
  run.write_config(config);
  EXPECT_EQ(load_config(path_ / "config.yaml"), config);
  EXPECT_EQ(run.checkpoint(42).filename(), "step-000042");
  EXPECT_EQ(run.adapter(), path_ / "adapter");
  EXPECT_EQ(run.best(), path_ / "best");
}

TEST_F(RunDirectoryTest, LogsALineAnObjectAndNullForWhatIsNotFinite) {
  RunDirectory run(path_, Start::fresh);
  run.log({{"step", 1}, {"loss", 0.5}}, "train");
  run.log({{"step", 1}, {"valid", {{"loss", std::numeric_limits<double>::quiet_NaN()}}}}, "valid");
  EXPECT_EQ(metrics(), "{\"step\":1,\"loss\":0.5}\n{\"step\":1,\"valid\":{\"loss\":null}}\n");
  int events = 0;
  for (const auto& entry : fs::directory_iterator(path_))
    events += entry.path().filename().string().starts_with("events.out.tfevents.");
  EXPECT_EQ(events, 1);
}

TEST_F(RunDirectoryTest, ARewindDropsLaterLinesAndATornOne) {
  const std::string kept = "{\"step\":1}\n{\"step\":2,\"event\":{\"skipped\":true}}\n{\"step\":2,\"valid\":{}}\n";
  const std::string tails[] = {"",
                               "{\"step\":3}\n",
                               "{\"step\":2,\"lo",
                               "{\"step\":2}",
                               "garbage\n{\"step\":2}\n",
                               "{\"step\":3}\n{\"step\":1}\n"};
  for (const std::string& tail : tails) {
    fs::create_directories(path_);
    write("metrics.jsonl", kept + tail);
    RunDirectory run(path_, Start::resume);
    run.rewind_metrics(2);
    EXPECT_EQ(metrics(), kept) << tail;
    run.log({{"step", 3}}, "train");
    EXPECT_EQ(metrics(), kept + "{\"step\":3}\n");
  }
}

TEST_F(RunDirectoryTest, ASecondWriterIsRefusedUntilTheFirstIsGone) {
  {
    RunDirectory first(path_, Start::fresh);
    try {
      RunDirectory second(path_, Start::resume);
      FAIL();
    } catch (const IoError& error) {
      EXPECT_EQ(std::string(error.what()), path_.string() + ": another process writes this run (process " +
                                               std::to_string(getpid()) + "); wait for it, or choose another `out`");
    }
  }
  RunDirectory next(path_, Start::resume);
}

TEST_F(RunDirectoryTest, AKilledWriterLeavesNoLock) {
  const pid_t child = fork();
  if (child == 0) {
    RunDirectory run(path_, Start::fresh);
    raise(SIGKILL);
  }
  int status = 0;
  waitpid(child, &status, 0);
  ASSERT_TRUE(WIFSIGNALED(status));
  EXPECT_NO_THROW(RunDirectory(path_, Start::resume));
}

TEST_F(RunDirectoryTest, ANewRunDoesNotMixWithAnOldOne) {
  fs::create_directories(path_ / "checkpoints" / "step-000010");
  EXPECT_THROW(RunDirectory(path_, Start::fresh), ConfigError);
  EXPECT_NO_THROW(RunDirectory(path_, Start::resume));
  fs::remove_all(path_ / "checkpoints");
  EXPECT_NO_THROW(RunDirectory(path_, Start::fresh));  // a run that failed before its first line is no run
  write("metrics.jsonl", "{\"step\":1}\n");
  EXPECT_THROW(RunDirectory(path_, Start::fresh), ConfigError);
}

TEST_F(RunDirectoryTest, OnlyTheNewestCheckpointsStay) {
  RunDirectory run(path_, Start::fresh);
  for (int64_t step : {5, 10, 1000000, 20}) {
    StagedDirectory staged(run.checkpoint(step));
    std::ofstream(staged.path() / "manifest") << step;
    staged.commit();
  }
  fs::create_directories(path_ / "checkpoints" / "step-abc");  // not ours
  EXPECT_EQ(run.checkpoints(), (std::vector<int64_t>{5, 10, 20, 1000000}));
  run.remove_old_checkpoints(2);
  EXPECT_EQ(run.checkpoints(), (std::vector<int64_t>{20, 1000000}));
  run.remove_old_checkpoints(9);
  EXPECT_EQ(run.checkpoints().size(), 2U);
}

TEST_F(RunDirectoryTest, AStagedDirectoryAppearsWholeOrNotAtAll) {
  RunDirectory run(path_, Start::fresh);
  const auto content = [&] {
    std::string text;
    std::getline(std::ifstream(run.best() / "f"), text);
    return text;
  };
  { StagedDirectory abandoned(run.best()); }
  EXPECT_FALSE(fs::exists(run.best()));
  for (const char* text : {"one", "two"}) {
    StagedDirectory staged(run.best());
    std::ofstream(staged.path() / "f") << text;
    EXPECT_NE(content(), text);
    staged.commit();
    EXPECT_EQ(content(), text);
  }
}

TEST_F(RunDirectoryTest, WhatAKillLeftHalfDoneIsClearedByTheNextWriter) {
  for (const char* name : {"best.partial", "adapter.replaced", "checkpoints/step-000007.partial"})
    fs::create_directories(path_ / name);
  write("adapter.replaced/f", "old");
  RunDirectory run(path_, Start::resume);
  EXPECT_FALSE(fs::exists(path_ / "best.partial") || fs::exists(path_ / "checkpoints/step-000007.partial"));
  EXPECT_TRUE(fs::exists(run.adapter() / "f")) << "the adapter that had no successor yet is back";
  EXPECT_TRUE(run.checkpoints().empty());
}

TEST_F(RunDirectoryTest, ADirectoryThatCannotBeMadeSaysSo) {
  std::ofstream(path_) << "a file";
  EXPECT_THROW(RunDirectory(path_, Start::fresh), IoError);
  EXPECT_THROW(RunDirectory("/proc/nothing/here", Start::fresh), IoError);
}

}  // namespace
}  // namespace mora
