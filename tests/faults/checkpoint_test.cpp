// Checkpoints under damage, failing system calls and power cuts: the old one or the new one, bit for bit.
#include <cerrno>

#include "engine/error.h"
#include "faults/file_system.h"
#include "faults/small_run.h"

namespace mora {
namespace {

using test::contents;
using test::Disk;
using test::FileSystemShim;
using test::TemporaryDirectory;
namespace fs = std::filesystem;

struct CheckpointFaults : ::testing::Test {
  TemporaryDirectory directory;
  MoRAModel model = test::small_model();
  std::map<std::string, std::string> old_files, new_files;  // of updates 1 and 2

  void SetUp() override {
    RunDirectory run(directory / "twin", RunDirectory::Start::fresh);
    test::save(run, 1, model, 2);
    test::save(run, 2, model, 2);
    old_files = contents(run.checkpoint(1));
    new_files = contents(run.checkpoint(2));
  }

  // The newest checkpoint that loads, as a resume finds it; 0 where there is none.
  int64_t newest_whole(const fs::path& path) const {
    RunDirectory run(path, RunDirectory::Start::resume);
    const std::vector<int64_t> steps = run.checkpoints();
    for (size_t i = steps.size(); i-- > 0;) {
      try {
        EXPECT_EQ(load_checkpoint(run.checkpoint(steps[i])).progression.step, steps[i]);
        EXPECT_EQ(contents(run.checkpoint(steps[i])), steps[i] == 1 ? old_files : new_files);
        return steps[i];
      } catch (const IoError&) {
      }
    }
    return 0;
  }
};

// Nothing in a checkpoint is harmless: each bit of the data is under a checksum, each of the manifest means something.
TEST_F(CheckpointFaults, EachTruncationAndEachFlippedBitIsFound) {
  const fs::path checkpoint = directory / "twin" / "checkpoints" / "step-000001";
  for (const auto& [name, bytes] : old_files) {
    const fs::path file = checkpoint / name;
    const auto found = [&](const std::string& damaged) {
      std::ofstream(file, std::ios::binary) << damaged;
      try {
        load_checkpoint(checkpoint);
      } catch (const IoError&) {
        return true;
      }
      return false;
    };
    for (size_t length = 0; length < bytes.size(); ++length)
      ASSERT_TRUE(found(bytes.substr(0, length)) || (name == "manifest.json" && length + 1 == bytes.size()))
          << name << " cut to " << length;  // the manifest's last byte is the end of its line
    for (size_t bit = 0; bit < 8 * bytes.size(); ++bit) {
      std::string flipped = bytes;
      flipped[bit / 8] = char(flipped[bit / 8] ^ (1 << bit % 8));
      ASSERT_TRUE(found(flipped)) << name << " bit " << bit;
    }
    std::ofstream(file, std::ios::binary) << bytes;
  }
  EXPECT_NO_THROW(load_checkpoint(checkpoint));
}

TEST_F(CheckpointFaults, EachFailingCallEndsInOneErrorWithTheOldOrTheNewCheckpoint) {
  int failures = 0;
  for (const int error : {ENOSPC, EROFS, EIO})
    for (const bool and_all_after : {false, true})
      for (int64_t n = 1;; ++n) {
        const fs::path path = directory / "run";
        fs::remove_all(path);
        bool threw = false;
        FileSystemShim shim(path);
        {
          RunDirectory run(path, RunDirectory::Start::fresh);
          test::save(run, 1, model, 1);
          shim.fail(n, and_all_after, error);
          try {
            test::save(run, 2, model, 1);
          } catch (const IoError& e) {
            threw = true;
            EXPECT_EQ(std::string(e.what()).find('\n'), std::string::npos);
            EXPECT_NE(std::string(e.what()).find(path.string()), std::string::npos) << e.what();
          }
        }
        const bool failed = shim.has_failed();
        shim.fail(0, false, 0);
        const int64_t step = newest_whole(path);
        ASSERT_GE(step, threw ? 1 : 2) << "call " << n << ", errno " << error;
        ASSERT_TRUE(failed || !threw);
        RunDirectory again(path, RunDirectory::Start::resume);  // nothing is in the way of the next attempt
        test::save(again, 2, model, 1);
        EXPECT_EQ(contents(again.checkpoint(2)), new_files);
        if (!failed) break;
        ++failures;
      }
  EXPECT_GT(failures, 100);
}

TEST_F(CheckpointFaults, APowerCutAtAnyCallLeavesTheOldOrTheNewCheckpoint) {
  const fs::path path = directory / "run";
  RunDirectory(path, RunDirectory::Start::fresh);
  for (const int64_t step : {1, 2}) {  // the first makes directories that the second finds
    RunDirectory run(path, RunDirectory::Start::resume);
    const Disk before(path);
    FileSystemShim shim(path);
    test::save(run, step, model, 1);
    const size_t calls = shim.operations().size();
    std::mt19937_64 random(7);
    Disk disk = before;
    for (size_t n = 0; n <= calls; ++n) {
      if (n > 0) disk.apply(shim.operations()[n - 1]);
      using PowerCut = Disk::PowerCut;
      for (const PowerCut cut : {PowerCut::kept, PowerCut::dropped, PowerCut::torn, PowerCut::reordered,
                                 PowerCut::reordered, PowerCut::reordered, PowerCut::reordered}) {
        const fs::path image = directory / "image";
        fs::remove_all(image);
        disk.write(image, cut, random);
        ASSERT_GE(newest_whole(image), n == calls ? step : step - 1) << "call " << n << ", cut " << int(cut);
      }
    }
  }
}

}  // namespace
}  // namespace mora
