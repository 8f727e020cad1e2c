// Data files: the first byte picks the format, the rest is the file. Whatever it holds, each row reads or is an
// mora::Error.
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <string>

#include "engine/error.h"
#include "loaders/dataset.h"
#include "loaders/labels.h"

namespace {

constexpr std::array kNames = {"a.tsv", "a.csv", "a.jsonl", "a.txt"};

// A file in memory, under a name of each format.
struct MemoryFile {
  MemoryFile() {
    std::string pattern = (std::filesystem::temp_directory_path() / "mora-fuzz-XXXXXX").string();
    if (fd < 0 || !::mkdtemp(pattern.data())) std::abort();
    folder = pattern;
    for (const char* name : kNames)
      std::filesystem::create_symlink("/proc/self/fd/" + std::to_string(fd), folder / name);
  }
  ~MemoryFile() { std::filesystem::remove_all(folder); }

  void write(const uint8_t* bytes, size_t size) const {
    if (::ftruncate(fd, 0) != 0 || ::pwrite(fd, bytes, size, 0) != static_cast<ssize_t>(size)) std::abort();
  }

  int fd = ::memfd_create("data", MFD_CLOEXEC);
  std::filesystem::path folder;
};

void read_all(const std::string& file, const std::vector<std::string>& columns) {
  const mora::Dataset data({{file}, columns, {"tools"}});
  for (int64_t row = 0; row < data.size(); ++row) {
    try {
      const mora::Row read = data.read(row);
      mora::text_of(read, 0);
      mora::target_of(read, 0);
    } catch (const mora::Error&) {
    }
  }
  mora::LabelNames::collect(data, 0);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  static const MemoryFile memory;
  if (size == 0) return 0;
  const std::string file = memory.folder / kNames[bytes[0] % kNames.size()];
  memory.write(bytes + 1, size - 1);
  for (const char* column : {"text", "1"}) {
    try {
      read_all(file, {column});
    } catch (const mora::Error&) {
    }
  }
  return 0;
}
