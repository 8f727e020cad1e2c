#include "mora/training/run_directory.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>

#include "engine/error.h"
#include "loaders/durable_file.h"
#include "loaders/tensorboard.h"

namespace mora {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kStepPrefix = "step-";

[[noreturn]] void fail_with(const fs::path& file, std::string_view doing, int error) {
  fail<IoError>("{}: cannot {}: {}", file.string(), doing, std::strerror(error));
}

FileDescriptor open_to_write(const fs::path& file, int flags) {
  FileDescriptor fd(open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | flags, 0666));
  if (fd.get() < 0) fail_with(file, "open for writing", errno);
  return fd;
}

void write_all(const FileDescriptor& fd, const fs::path& file, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t written = write(fd.get(), bytes.data(), bytes.size());
    if (written < 0 && errno != EINTR) fail_with(file, "write", errno);
    if (written > 0) bytes.remove_prefix(static_cast<size_t>(written));
  }
}

FileDescriptor take_lock(const fs::path& file) {
  FileDescriptor fd = open_to_write(file, 0);
  if (flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) fail_with(file, "lock", errno);
    std::string owner;
    std::getline(std::ifstream(file), owner);
    fail<IoError>("{}: another process writes this run (process {}); wait for it, or choose another `out`",
                  file.parent_path().string(), owner.empty() ? "unknown" : owner);
  }
  if (ftruncate(fd.get(), 0) != 0) fail_with(file, "write", errno);
  write_all(fd, file, std::to_string(getpid()) + "\n");
  return fd;
}

// The update a line of metrics.jsonl belongs to; nothing for a line that a kill cut short.
std::optional<int64_t> step_of(const std::string& line) {
  const auto json = nlohmann::json::parse(line, nullptr, false);
  if (!json.is_object() || !json.contains("step") || !json["step"].is_number_integer()) return {};
  return json["step"].get<int64_t>();
}

// The steps of the complete checkpoints in `checkpoints`, rising.
std::vector<int64_t> steps_in(const fs::path& checkpoints) {
  std::vector<int64_t> steps;
  std::error_code none;
  for (const auto& entry : fs::directory_iterator(checkpoints, none)) {
    const std::string name = entry.path().filename().string();
    if (!name.starts_with(kStepPrefix)) continue;
    int64_t step = 0;
    const char* end = name.data() + name.size();
    const auto [stop, error] = std::from_chars(name.data() + kStepPrefix.size(), end, step);
    if (error == std::errc() && stop == end) steps.push_back(step);
  }
  std::sort(steps.begin(), steps.end());
  return steps;
}

// The numbers of an object and of the objects in it, and a sample's text.
void add_values(TensorboardWriter& events, int64_t step, const nlohmann::ordered_json& values,
                const std::string& prefix) {
  if (values.value("kind", "") == "sample")
    events.text(step, prefix + values["prompt"].get<std::string>(), values["text"].get<std::string>());
  for (const auto& entry : values.items()) {
    const nlohmann::ordered_json& value = entry.value();
    if (value.is_number() && entry.key() != "step") events.scalar(step, prefix + entry.key(), value.get<double>());
    if (value.is_object()) add_values(events, step, value, prefix);
  }
}

}  // namespace

RunDirectory::RunDirectory(fs::path path, Start start) : path_(std::move(path)) {
  check(path_, start);
  make_directory(path_);
  lock_ = take_lock(path_ / "lock");
  clear_left_overs(path_);
  clear_left_overs(path_ / "checkpoints");
  check(path_, start);  // again, now that nobody else writes
  metrics_ = open_to_write(path_ / "metrics.jsonl", O_APPEND);
}

RunDirectory::~RunDirectory() = default;

void RunDirectory::check(const fs::path& path, Start start) {
  const fs::path metrics = path / "metrics.jsonl";
  if (start == Start::resume)
    require<ConfigError>(fs::exists(path), "{}: no run to resume here; begin it without --resume", path.string());
  else
    require<ConfigError>(
        steps_in(path / "checkpoints").empty() && (!fs::exists(metrics) || fs::file_size(metrics) == 0),
        "{}: a run is already here; continue it with --resume, or choose another `out`", path.string());
}

fs::path RunDirectory::checkpoint(int64_t step) const {
  return path_ / "checkpoints" / fmt::format("{}{:06}", kStepPrefix, step);
}

std::vector<int64_t> RunDirectory::checkpoints() const { return steps_in(path_ / "checkpoints"); }

void RunDirectory::remove_old_checkpoints(int64_t keep) {
  const std::vector<int64_t> steps = checkpoints();
  for (size_t i = 0; i + static_cast<size_t>(keep) < steps.size(); ++i) remove_whole(checkpoint(steps[i]));
}

void RunDirectory::set_aside(int64_t step) {
  fs::path aside = checkpoint(step);
  aside += ".damaged";
  remove_whole(aside);
  rename_durable(checkpoint(step), aside);
}

void RunDirectory::write_config(const Config& config) const { write_durable(path_ / "config.yaml", to_yaml(config)); }

void RunDirectory::rewind_metrics(int64_t step) {
  const fs::path file = path_ / "metrics.jsonl";
  std::ifstream lines(file, std::ios::binary);
  off_t keep = 0;
  for (std::string line; std::getline(lines, line) && !lines.eof(); keep += static_cast<off_t>(line.size()) + 1) {
    const std::optional<int64_t> of = step_of(line);
    if (!of || *of > step) break;
  }
  if (ftruncate(metrics_.get(), keep) != 0) fail_with(file, "truncate", errno);
  sync();
}

void RunDirectory::log(const nlohmann::ordered_json& line, std::string_view group) {
  write_all(metrics_, path_ / "metrics.jsonl",
            line.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n");
  if (!tensorboard_) tensorboard_ = std::make_unique<TensorboardWriter>(path_);
  const auto step = line.at("step").get<int64_t>();
  add_values(*tensorboard_, step, line, std::string(group) + "/");
  tensorboard_->flush();
}

void RunDirectory::sync() {
  if (fsync(metrics_.get()) != 0) fail_with(path_ / "metrics.jsonl", "sync", errno);
}

}  // namespace mora
