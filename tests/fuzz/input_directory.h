// The fuzzer's bytes as files of one directory, in memory: each name is a link to a file that write() fills.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace mora::test {

class InputDirectory {
 public:
  explicit InputDirectory(const std::vector<std::string>& names) {
    std::string pattern = (std::filesystem::temp_directory_path() / "mora-fuzz-XXXXXX").string();
    if (!::mkdtemp(pattern.data())) std::abort();
    path_ = pattern;
    for (const std::string& name : names) {
      const int fd = files_[name] = ::memfd_create(name.c_str(), MFD_CLOEXEC);
      if (fd < 0) std::abort();
      std::filesystem::create_symlink("/proc/self/fd/" + std::to_string(fd), path_ / name);
    }
  }
  InputDirectory(const InputDirectory&) = delete;
  ~InputDirectory() {
    for (const auto& [name, fd] : files_) ::close(fd);
    std::filesystem::remove_all(path_);
  }

  const std::filesystem::path& path() const { return path_; }
  std::filesystem::path operator/(const std::string& name) const { return path_ / name; }
  void write(const std::string& name, std::string_view bytes) const {
    const int fd = files_.at(name);
    if (::ftruncate(fd, 0) != 0 || ::pwrite(fd, bytes.data(), bytes.size(), 0) != ssize_t(bytes.size())) std::abort();
  }

 private:
  std::filesystem::path path_;
  std::map<std::string, int> files_;
};

// The input cut at its first count − 1 NULs; missing parts are empty.
inline std::vector<std::string_view> parts_of(const uint8_t* data, size_t size, size_t count) {
  std::string_view rest(reinterpret_cast<const char*>(data), size);
  std::vector<std::string_view> parts;
  while (parts.size() + 1 < count) {
    const size_t nul = rest.find('\0');
    parts.push_back(rest.substr(0, nul));
    rest = nul == rest.npos ? std::string_view() : rest.substr(nul + 1);
  }
  parts.push_back(rest);
  return parts;
}

// A safetensors file of a header's text and data: what changes the text does not break the length before it.
inline std::string safetensors_file(std::string_view header, std::string_view data) {
  std::string bytes;
  for (int i = 0; i < 8; ++i) bytes += char(uint64_t(header.size()) >> 8 * i & 255);
  return bytes.append(header).append(data);
}

}  // namespace mora::test
