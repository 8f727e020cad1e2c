#include "mora/training/progress.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "mora/training/process_memory.h"

namespace mora {
namespace {

constexpr double kDecay = 0.95;
constexpr size_t kSparks = 16, kHistory = 256;
constexpr int kBar = 20;

// The number of columns a UTF-8 text takes: all characters used here are one wide.
size_t width_of(std::string_view text) {
  return static_cast<size_t>(std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; }));
}

std::string bar(int64_t step, int64_t total) {
  const double share = total > 0 ? std::clamp(static_cast<double>(step) / static_cast<double>(total), 0.0, 1.0) : 0;
  const int halves = static_cast<int>(share * 2 * kBar);
  std::string text;
  for (int i = 0; i < kBar; ++i) text += 2 * i + 1 < halves ? "━" : 2 * i < halves ? "╸" : "─";
  return text;
}

int terminal_columns(std::FILE* out) {
  winsize size{};
  return ioctl(fileno(out), TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

double seconds_left(const ProgressUpdate& update) {
  const int64_t done = update.step - update.first_step;
  if (done <= 0) return std::numeric_limits<double>::quiet_NaN();
  return update.seconds / static_cast<double>(done) * static_cast<double>(update.total - update.step);
}

}  // namespace

void SmoothedLoss::add(double loss) {
  if (!std::isfinite(loss)) return;
  mean_ = kDecay * mean_ + (1 - kDecay) * loss;
  weight_ = kDecay * weight_ + (1 - kDecay);
}

double SmoothedLoss::value() const { return weight_ > 0 ? mean_ / weight_ : std::numeric_limits<double>::quiet_NaN(); }

std::string sparkline(const std::vector<double>& values, size_t width) {
  static constexpr std::string_view kLevels[] = {"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
  if (values.empty() || width == 0) return "";
  const auto [low, high] = std::minmax_element(values.begin(), values.end());
  const size_t count = std::min(width, values.size());
  std::string text;
  for (size_t i = 0; i < count; ++i) {  // the mean of each of `count` stretches
    const size_t begin = i * values.size() / count, end = (i + 1) * values.size() / count;
    double mean = 0;
    for (size_t j = begin; j < end; ++j) mean += values[j] / static_cast<double>(end - begin);
    const double height = *high > *low ? (mean - *low) / (*high - *low) : 0;
    text += kLevels[static_cast<size_t>(std::clamp(height * 8, 0.0, 7.0))];
  }
  return text;
}

std::string duration_text(double seconds) {
  if (!std::isfinite(seconds) || seconds < 0 || seconds > 1e9) return "?";
  const auto total = static_cast<int64_t>(std::llround(seconds));
  const int64_t days = total / 86400, hours = total / 3600 % 24, minutes = total / 60 % 60;
  if (days > 0) return fmt::format("{}d {:02}h", days, hours);
  if (hours > 0) return fmt::format("{}:{:02}:{:02}", hours, minutes, total % 60);
  if (minutes > 0) return fmt::format("{}:{:02}", minutes, total % 60);
  return fmt::format("{}s", total);
}

std::string progress_line(const ProgressUpdate& update, double smoothed, const std::vector<double>& history,
                          int columns) {
  const bool plain = columns == 0;
  // In the order they are shown; on a narrow terminal the last ones go first.
  std::vector<std::string> parts{fmt::format("{}/{}", update.step, update.total)};
  if (!plain) parts.push_back(bar(update.step, update.total));
  parts.push_back(fmt::format("loss {:.4f} (smooth {:.4f})", update.loss, smoothed));
  if (!plain && history.size() > 1) parts.push_back(sparkline(history, kSparks));
  parts.push_back(fmt::format("lr {:.1e}", update.lr));
  parts.push_back(fmt::format("{:.0f} tok/s", update.tokens_per_second));
  parts.push_back(duration_text(seconds_left(update)) + " left");
  parts.push_back(fmt::format("{} MiB", update.memory_bytes >> 20));

  std::string line;
  for (const std::string& part : parts) {
    const std::string longer = line + (line.empty() ? "" : " ") + part;
    if (!plain && width_of(longer) >= static_cast<size_t>(columns)) continue;
    line = longer;
  }
  return line;
}

Progress::Progress(bool quiet, std::FILE* out) : quiet_(quiet), terminal_(isatty(fileno(out)) == 1), out_(out) {}

Progress::~Progress() {
  if (drawn_) std::fputc('\n', out_);
}

void Progress::update(const ProgressUpdate& update) {
  smoothed_.add(update.loss);
  if (++since_kept_ >= stride_ && std::isfinite(smoothed_.value())) {
    since_kept_ = 0;
    history_.push_back(smoothed_.value());
    if (history_.size() == kHistory) {  // keep every second one, from now on half as often
      for (size_t i = 0; i < kHistory / 2; ++i) history_[i] = history_[2 * i];
      history_.resize(kHistory / 2);
      stride_ *= 2;
    }
  }
  if (quiet_ || (update.seconds < next_draw_ && update.step < update.total)) return;
  next_draw_ = update.seconds + (terminal_ ? 0.1 : 1.0);
  ProgressUpdate drawn = update;
  drawn.memory_bytes = resident_bytes();
  const std::string line = progress_line(drawn, smoothed_.value(), history_, terminal_ ? terminal_columns(out_) : 0);
  clear_line();
  std::fputs((terminal_ ? line : line + "\n").c_str(), out_);
  drawn_ = terminal_;
  std::fflush(out_);
}

void Progress::note(std::string_view line) {
  if (quiet_) return;
  clear_line();
  fmt::print(out_, "{}\n", line);
  std::fflush(out_);
}

void Progress::clear_line() {
  if (drawn_) std::fputs("\r\033[K", out_);
  drawn_ = false;
}

}  // namespace mora
