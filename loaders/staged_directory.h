// Directories that appear whole: they are filled under another name, synced and renamed.
#pragma once

#include <filesystem>

namespace mora {

// Makes a directory and those above it, and syncs what holds them. Throws IoError that names it.
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

// Removes a directory, if it is there, so that it is never seen with a part of its files.
void remove_whole(const std::filesystem::path& directory);

// Tidies what a kill in the middle of a StagedDirectory left in `directory`: half-filled directories go; one that was
// moved aside and has no successor comes back.
void clear_left_overs(const std::filesystem::path& directory);

}  // namespace mora
