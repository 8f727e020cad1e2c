// Progress on stderr: on a terminal one line that is drawn again, elsewhere a plain line a second.
//
//   120/600 ━━━━╸─────────────── loss 0.4312 (smooth 0.4501) ▇▅▃▂▁ lr 9.1e-04 1834 tok/s 2:13 left 412 MiB
#pragma once

#include <cstdint>
#include <cstdio>
#include <string>
#include <string_view>
#include <vector>

namespace mora {

struct ProgressUpdate {
  int64_t step = 0, total = 0;
  double loss = 0, lr = 0, tokens_per_second = 0;
  double seconds = 0;        // since this process began to train
  int64_t first_step = 0;    // where it began: a resumed run does not count the steps before it
  int64_t memory_bytes = 0;  // read when the line is drawn
};

// Exponential mean of the losses with the bias of its start removed: m = β·m + (1 − β)·x, m / (1 − βᵗ), β = 0.95.
// Values that are not finite are left out.
class SmoothedLoss {
 public:
  void add(double loss);
  double value() const;  // NaN before the first

 private:
  double mean_ = 0, weight_ = 0;
};

// One character a value, lowest to highest: ▁▂▃▄▅▆▇█. At most `width` of the latest.
std::string sparkline(const std::vector<double>& values, size_t width);

// "59s", "2:13", "1:02:03", "3d 04h"; "?" for a time that is not known.
std::string duration_text(double seconds);

// The line for an update. `columns` of the terminal; 0 for a plain line without bar and sparkline.
std::string progress_line(const ProgressUpdate& update, double smoothed, const std::vector<double>& history,
                          int columns);

class Progress {
 public:
  // `quiet` prints nothing at all. A terminal is what isatty says of `out`.
  Progress(bool quiet, std::FILE* out = stderr);
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  ~Progress();  // leaves the last line standing

  void update(const ProgressUpdate& update);  // after each update; draws ten times a second, or a line once a second
  void note(std::string_view line);           // a line that stays, such as a validation result

 private:
  void clear_line();

  bool quiet_, terminal_;
  std::FILE* out_;
  bool drawn_ = false;
  double next_draw_ = 0;
  SmoothedLoss smoothed_;
  std::vector<double> history_;  // smoothed losses, thinned so that it stays short
  int64_t stride_ = 1, since_kept_ = 0;
};

}  // namespace mora
