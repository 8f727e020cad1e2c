// Directories that appear whole: they are filled under another name, synced and renamed.
#pragma once

#include <filesystem>

namespace mora {

// Makes a directory and those above it. Throws IoError that names it.
void make_directory(const std::filesystem::path& path);

// A directory being filled under a temporary name beside its own; without commit() it vanishes.
class StagedDirectory {
 public:
  explicit StagedDirectory(std::filesystem::path target);
  StagedDirectory(const StagedDirectory&) = delete;
  StagedDirectory& operator=(const StagedDirectory&) = delete;
  ~StagedDirectory();

  const std::filesystem::path& path() const { return staged_; }
  void commit();  // takes the place of `target`, whether that exists or not; IoError where it cannot

 private:
  std::filesystem::path target_, staged_;
};

// Tidies what a kill in the middle of a StagedDirectory left in `directory`: half-filled directories go; one that was
// moved aside and has no successor comes back.
void clear_left_overs(const std::filesystem::path& directory);

}  // namespace mora
