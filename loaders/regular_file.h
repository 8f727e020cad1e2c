// Opening what a user names as a file: regular files only (symbolic links are followed, a cache lays them), never a
// directory, a FIFO or a device, whose open or read could hang.
#pragma once

#include <cstddef>
#include <filesystem>
#include <string>

namespace mora {

// An open file descriptor, closed by its owner.
class FileDescriptor {
 public:
  FileDescriptor() = default;
  explicit FileDescriptor(int fd) : fd_(fd) {}
  FileDescriptor(FileDescriptor&& other) noexcept : fd_(other.fd_) { other.fd_ = -1; }
  FileDescriptor& operator=(FileDescriptor&& other) noexcept;
  ~FileDescriptor() { reset(); }

  int get() const { return fd_; }
  void reset();

 private:
  int fd_ = -1;
};

struct RegularFile {
  FileDescriptor fd;  // open for reading, at offset 0
  size_t bytes = 0;   // its size when it was opened
};

// Throws IoError, within a moment, for whatever is no readable regular file.
RegularFile open_regular_file(const std::filesystem::path& file);

// The bytes of a regular file of at most `max_bytes`; IoError otherwise.
std::string read_regular_file(const std::filesystem::path& file, size_t max_bytes);

}  // namespace mora
