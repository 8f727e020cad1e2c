// Data files: the first byte picks the format, the rest is the file. Whatever it holds, each row reads or is an
// mora::Error.
#include <cstdint>
#include <string>
#include <vector>

#include "engine/error.h"
#include "fuzz/input_directory.h"
#include "loaders/dataset.h"
#include "loaders/labels.h"

namespace {

const std::vector<std::string> names = {"a.tsv", "a.csv", "a.jsonl", "a.txt"};

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
  static const mora::test::InputDirectory directory(names);
  if (size == 0) return 0;
  const std::string& name = names[bytes[0] % names.size()];
  directory.write(name, {reinterpret_cast<const char*>(bytes) + 1, size - 1});
  const std::string file = directory / name;
  for (const char* column : {"text", "1"}) {
    try {
      read_all(file, {column});
    } catch (const mora::Error&) {
    }
  }
  return 0;
}
