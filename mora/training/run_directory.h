// The directory of one run, as docs and scripts know it:
//
//   config.yaml              the resolved configuration          adapter/, best/          the last adapter and the best
//   metrics.jsonl            one object a line, append-only      checkpoints/step-NNNNNN/ what a resume starts from
//   events.out.tfevents.*    the same numbers for TensorBoard    lock                     held while a process writes
//   valid.jsonl              the last evaluation, row by row     summary.json, report.html written when the run ends
//
// Directories appear whole (loaders/staged_directory.h). What a kill left half-staged is removed by the next writer.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string_view>
#include <vector>

#include "loaders/regular_file.h"
#include "loaders/staged_directory.h"
#include "mora/training/config.h"

namespace mora {

class TensorboardWriter;

class RunDirectory {
 public:
  // Makes or opens `path` and takes its lock. Throws IoError when another process holds the lock or the directory
  // cannot be written, and ConfigError when a new run would mix with one that is already there, or there is none to
  // resume.
  enum class Start { fresh, resume };
  RunDirectory(std::filesystem::path path, Start start);
  // The same ConfigErrors, before the model and the data are read; makes nothing.
  static void check(const std::filesystem::path& path, Start start);
  RunDirectory(const RunDirectory&) = delete;
  RunDirectory& operator=(const RunDirectory&) = delete;
  ~RunDirectory();

  const std::filesystem::path& path() const { return path_; }
  std::filesystem::path adapter() const { return path_ / "adapter"; }
  std::filesystem::path best() const { return path_ / "best"; }
  std::filesystem::path checkpoint(int64_t step) const;
  std::vector<int64_t> checkpoints() const;  // steps of the complete ones, rising
  void remove_old_checkpoints(int64_t keep);
  // To step-NNNNNN.damaged: it is no checkpoint any more, and is kept for who wants to look.
  void set_aside(int64_t step);

  void write_config(const Config& config) const;

  // Before the first line: drops the lines after update `step` (a resume repeats them), and a line that a kill cut
  // short. A checkpoint is therefore written after all lines of its update.
  void rewind_metrics(int64_t step);
  // Appends one object to metrics.jsonl (it has a "step"), and its numbers and a sample's text to TensorBoard under
  // `group`, so "train/loss". A number that is not finite becomes null.
  void log(const nlohmann::ordered_json& line, std::string_view group);
  void sync();  // metrics.jsonl reaches the disk; a checkpoint does this first

 private:
  std::filesystem::path path_;
  FileDescriptor lock_, metrics_;
  std::unique_ptr<TensorboardWriter> tensorboard_;  // opened by the first line
};

}  // namespace mora
