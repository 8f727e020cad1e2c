#include "loaders/staged_directory.h"

#include <new>
#include <vector>

#include "engine/error.h"
#include "loaders/durable_file.h"

namespace mora {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kStagedSuffix = ".partial", kReplacedSuffix = ".replaced";

bool is_left_over(const fs::path& path) {
  const std::string name = path.filename().string();
  return name.ends_with(kStagedSuffix) || name.ends_with(kReplacedSuffix);
}

// DIR/ and DIR are the same target; only the second has a name to put a suffix on.
fs::path without_end_slash(fs::path path) { return path.has_filename() ? path : path.parent_path(); }

void remove_tree(const fs::path& path) {
  std::error_code error;
  fs::remove_all(path, error);
  require<IoError>(!error, "{}: cannot remove it: {}", path.string(), error.message());
}

}  // namespace

void make_directory(const fs::path& path) {
  std::error_code error;
  const fs::path parent = without_end_slash(path).parent_path();
  if (fs::is_directory(path, error)) return;
  if (!parent.empty()) make_directory(parent);
  fs::create_directory(without_end_slash(path), error);
  require<IoError>(!error && fs::is_directory(path), "{}: cannot make the directory: {}; choose another place",
                   path.string(), error ? error.message() : "a file is there");
  sync_directory(parent.empty() ? "." : parent);  // or a power cut takes it, and all that is synced in it
}

StagedDirectory::StagedDirectory(fs::path target) : target_(without_end_slash(std::move(target))), staged_(target_) {
  staged_ += kStagedSuffix;
  std::error_code ignored;
  fs::remove_all(staged_, ignored);
  make_directory(staged_);
}

StagedDirectory::~StagedDirectory() {
  try {
    std::error_code ignored;
    fs::remove_all(staged_, ignored);
  } catch (const std::bad_alloc&) {  // the next writer clears it
  }
}

void StagedDirectory::commit() {
  fs::path replaced = target_;
  replaced += kReplacedSuffix;
  remove_tree(replaced);
  if (fs::exists(target_)) rename_durable(target_, replaced);
  rename_durable(staged_, target_);
  remove_tree(replaced);
}

void remove_whole(const fs::path& directory) {
  if (!fs::exists(directory)) return;
  fs::path left_over = without_end_slash(directory);
  left_over += kStagedSuffix;
  remove_tree(left_over);
  rename_durable(directory, left_over);
  remove_tree(left_over);
}

void clear_left_overs(const fs::path& directory) {
  if (!fs::is_directory(directory)) return;
  std::vector<fs::path> found;
  for (const auto& entry : fs::directory_iterator(directory))
    if (is_left_over(entry.path())) found.push_back(entry.path());
  for (const fs::path& path : found) {
    fs::path target = path;
    target.replace_extension();
    if (path.extension() == kReplacedSuffix && !fs::exists(target))
      rename_durable(path, target);
    else
      remove_tree(path);
  }
}

}  // namespace mora
