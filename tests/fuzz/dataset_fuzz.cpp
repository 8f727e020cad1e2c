// Data files: the first byte picks the format, the rest is the file. Whatever it holds, each row reads or is an
// mora::Error.
#include <unistd.h>

#include <array>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "engine/error.h"
#include "loaders/dataset.h"
#include "loaders/labels.h"

namespace {

const std::filesystem::path& folder() {
  static const std::filesystem::path path = [] {
    std::string pattern = (std::filesystem::temp_directory_path() / "mora-fuzz-XXXXXX").string();
    if (!::mkdtemp(pattern.data())) std::abort();
    std::atexit([] { std::filesystem::remove_all(folder()); });
    return std::filesystem::path(pattern);
  }();
  return path;
}

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
  constexpr std::array names = {"a.tsv", "a.csv", "a.jsonl", "a.txt"};
  if (size == 0) return 0;
  const std::string file = folder() / names[bytes[0] % names.size()];
  std::ofstream(file, std::ios::binary)
      .write(reinterpret_cast<const char*>(bytes) + 1, static_cast<std::streamsize>(size) - 1);
  for (const char* column : {"text", "1"}) {
    try {
      read_all(file, {column});
    } catch (const mora::Error&) {
    }
  }
  return 0;
}
