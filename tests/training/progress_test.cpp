// The progress line: its parts, its width, how often it is drawn and where it is silent.
#include "mora/training/progress.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <pty.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>

#include "mora/training/process_memory.h"

namespace mora {
namespace {

const ProgressUpdate kUpdate{.step = 30,
                             .total = 120,
                             .loss = 0.5,
                             .lr = 9.1e-4,
                             .tokens_per_second = 1834.4,
                             .seconds = 10,
                             .first_step = 20,
                             .memory_bytes = int64_t{412} << 20};

TEST(Progress, APlainLineSaysEverything) {
  EXPECT_EQ(progress_line(kUpdate, 0.625, {3, 2, 1}, 0),
            "30/120 loss 0.5000 (smooth 0.6250) lr 9.1e-04 1834 tok/s 1:30 left 412 MiB");
}

TEST(Progress, ATerminalHasABarAndASparkline) {
  EXPECT_EQ(progress_line(kUpdate, 0.625, {3, 2, 1}, 200),
            "30/120 ━━━━━─────────────── loss 0.5000 (smooth 0.6250) █▅▁ lr 9.1e-04 "
            "1834 tok/s 1:30 left 412 MiB");
}

TEST(Progress, ANarrowTerminalIsNeverOverrun) {
  for (int columns = 1; columns < 120; ++columns) {
    const std::string line = progress_line(kUpdate, 0.625, {3, 2, 1}, columns);
    size_t width = 0;
    for (char c : line) width += (c & 0xC0) != 0x80;
    EXPECT_LT(width, static_cast<size_t>(columns)) << line;
  }
}

TEST(Progress, TimeLeftOfAResumedRunCountsItsOwnStepsOnly) {
  ProgressUpdate update = kUpdate;  // 10 steps in 10 s, 90 to go
  EXPECT_NE(progress_line(update, 0, {}, 0).find(" 1:30 left"), std::string::npos);
  update.step = update.first_step;
  EXPECT_NE(progress_line(update, 0, {}, 0).find(" ? left"), std::string::npos);
}

TEST(Progress, Durations) {
  const std::pair<double, const char*> cases[] = {{0, "0s"},     {59.4, "59s"},       {59.6, "1:00"},
                                                  {133, "2:13"}, {3723, "1:02:03"},   {273600, "3d 04h"},
                                                  {-1, "?"},     {std::nan(""), "?"}, {INFINITY, "?"}};
  for (const auto& [seconds, text] : cases) EXPECT_EQ(duration_text(seconds), text) << seconds;
}

TEST(Progress, TheSmoothedLossHasNoBiasAtTheStart) {
  SmoothedLoss loss;
  EXPECT_TRUE(std::isnan(loss.value()));
  loss.add(2);
  EXPECT_DOUBLE_EQ(loss.value(), 2);
  loss.add(std::numeric_limits<double>::infinity());
  loss.add(4);
  EXPECT_NEAR(loss.value(), (0.95 * 2 + 4) / 1.95, 1e-12);
}

TEST(Progress, Sparklines) {
  EXPECT_EQ(sparkline({}, 8), "");
  EXPECT_EQ(sparkline({1, 1}, 8), "▁▁");
  EXPECT_EQ(sparkline({0, 1, 2, 3, 4, 5, 6, 7}, 8), "▁▂▃▄▅▆▇█");
  EXPECT_EQ(sparkline({0, 0, 1, 1}, 2), "▁█");
}

// What a Progress writes into a pipe or a terminal while 50 updates pass, one every 0.1 s.
std::string written(bool quiet, bool terminal) {
  int reader = -1, writer = -1, ends[2];
  if (terminal) {
    EXPECT_EQ(openpty(&reader, &writer, nullptr, nullptr, nullptr), 0);
  } else {
    EXPECT_EQ(pipe(ends), 0);
    reader = ends[0], writer = ends[1];
  }
  std::FILE* out = fdopen(writer, "w");
  {
    Progress progress(quiet, out);
    for (int64_t step = 1; step <= 50; ++step) {
      progress.update({.step = step, .total = 50, .loss = 1, .seconds = 0.1 * static_cast<double>(step)});
      if (step == 25) progress.note("valid");
    }
  }
  std::fflush(out);
  fcntl(reader, F_SETFL, O_NONBLOCK);
  std::string text, block(4096, '\0');
  for (ssize_t got; (got = read(reader, block.data(), block.size())) > 0;)
    text.append(block, 0, static_cast<size_t>(got));
  std::fclose(out);
  close(reader);
  return text;
}

TEST(Progress, APipeGetsALineASecondAndTheLastOne) {
  const std::string text = written(false, false);
  EXPECT_EQ(text.find('\r'), std::string::npos);
  EXPECT_EQ(text.find('\033'), std::string::npos);
  const auto lines = std::count(text.begin(), text.end(), '\n');
  EXPECT_GE(lines, 6);
  EXPECT_LE(lines, 8);
  EXPECT_NE(text.find("\nvalid\n"), std::string::npos);
  EXPECT_NE(text.find("\n50/50 "), std::string::npos);
}

TEST(Progress, ATerminalLineIsDrawnOverItself) {
  const std::string text = written(false, true);
  EXPECT_NE(text.find("\r\033[K"), std::string::npos);
  EXPECT_NE(text.find("valid\r\n"), std::string::npos);
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 2);
}

TEST(Progress, QuietIsSilent) {
  EXPECT_EQ(written(true, false), "");
  EXPECT_EQ(written(true, true), "");
}

TEST(ProcessMemory, PeakIsNeverBelowNow) {
  const int64_t before = resident_bytes();
  const auto block = std::make_unique<char[]>(64 << 20);
  for (size_t i = 0; i < 64 << 20; i += 4096) block[i] = 1;
  EXPECT_GE(resident_bytes(), before + (48 << 20));
  EXPECT_GE(peak_resident_bytes() + (4 << 20), resident_bytes());
}

}  // namespace
}  // namespace mora
