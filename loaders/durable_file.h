// The one door through which files are written. A file appears whole or not at all, and what was there before stays
// until then: a temporary beside it is written, synced, renamed over it, and the directory synced. So a crash, a kill
// or a full disk never leaves half a file under its name, and a file that is mapped while it is replaced keeps its old
// bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

#include "loaders/checksum.h"
#include "loaders/regular_file.h"

namespace mora {

// Streams a file of any size with bounded memory. Errors (no space, read-only, no directory) are IoErrors that name the
// file. A symbolic link under the name is replaced, not followed; a directory or a device under it is refused.
class DurableFile {
 public:
  explicit DurableFile(std::filesystem::path file);
  DurableFile(const DurableFile&) = delete;
  DurableFile& operator=(const DurableFile&) = delete;
  ~DurableFile();  // without commit(): the temporary is removed and the old file stays

  void write(const void* data, size_t bytes);
  void write(std::string_view text) { write(text.data(), text.size()); }
  uint64_t bytes() const { return bytes_; }                // written so far
  uint64_t checksum() const { return checksum_.value(); }  // of what was written so far

  void commit();  // once, at the end

 private:
  void write_out(const char* data, size_t bytes);
  [[noreturn]] void fail_with(std::string_view doing, int error) const;

  std::filesystem::path file_, temporary_;
  FileDescriptor fd_;
  std::string buffer_;
  uint64_t bytes_ = 0;
  Checksum checksum_;
};

// The whole content at once.
void write_durable(const std::filesystem::path& file, std::string_view content);

// Renames a file or a directory and syncs the directory that holds the new name. `to` may exist where rename(2) allows.
void rename_durable(const std::filesystem::path& from, const std::filesystem::path& to);

// The names in a directory reach the disk. Throws IoError that names it.
void sync_directory(const std::filesystem::path& directory);

}  // namespace mora
