// A regular file in memory without a copy: pages are read when they are first touched and given back under pressure.
//
// A page of a map whose file was cut short raises SIGBUS. The first map installs one SIGBUS handler for the process; it
// knows every live map, and a fault inside one ends the process with the line `error: FILE: the file shrank while it
// was open` and exit code 1 (write(2) and _exit(2) alone: nothing can be unwound out of a fault in a kernel's loop, on
// any thread). A fault elsewhere goes on to the handler that was there before.
#pragma once

#include <cstddef>
#include <filesystem>
#include <memory>
#include <string_view>

#include "loaders/regular_file.h"

namespace mora {

// Immutable and shared: whatever aliases its bytes (a tensor) keeps a pointer to it.
class MappedFile {
 public:
  // Throws IoError for what is no readable regular file. An empty file maps to zero bytes.
  static std::shared_ptr<const MappedFile> open(const std::filesystem::path& file);
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  ~MappedFile();

  const std::filesystem::path& path() const { return path_; }
  const std::byte* data() const { return data_; }
  size_t size() const { return size_; }
  std::string_view text() const { return {reinterpret_cast<const char*>(data_), size_}; }

  // Throws IoError if the file is shorter now than when it was opened: called before a part of it is handed out, it
  // turns most shrinking files into an exception. (A cut inside the last page would read as zeros, without a fault.)
  void require_whole() const;

 private:
  MappedFile() = default;

  std::filesystem::path path_;
  FileDescriptor fd_;
  const std::byte* data_ = nullptr;
  size_t size_ = 0;
};

}  // namespace mora
