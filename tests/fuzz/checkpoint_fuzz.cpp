// A checkpoint's directory: state.json, a NUL, the header of optimizer.safetensors, a NUL, its data, under a manifest
// that is right, so that damage is not found by the checksums; an input that begins with a NUL is the manifest. It
// loads, and an optimizer takes or refuses its moments; or it is an Error of one line.
#include "mora/training/checkpoint.h"

#include <cstring>

#include "engine/error.h"
#include "fuzz/input_directory.h"
#include "loaders/checksum.h"

namespace {

using mora::test::InputDirectory;
using mora::test::safetensors_file;

constexpr const char* kMembers[] = {"mora_config.json",  "adapter.safetensors",  "optimizer.safetensors",
                                    "ranks.safetensors", "learning.safetensors", "state.json"};

std::string manifest_of(const InputDirectory& directory) {
  std::string text = R"({"format":7,"step":7,"files":{)";
  for (const char* name : kMembers) {
    const auto file = directory / name;
    text += fmt::format("{}\"{}\":{{\"bytes\":{},\"xxh3\":\"{}\"}}", text.back() == '{' ? "" : ",", name,
                        std::filesystem::file_size(file), mora::checksum_text(mora::checksum_file(file)));
  }
  return text + "}}";
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const InputDirectory directory([] {
    std::vector<std::string> names(std::begin(kMembers), std::end(kMembers));
    names.emplace_back("manifest.json");
    return names;
  }());
  if (size > 0 && data[0] == 0) {
    directory.write("manifest.json", {reinterpret_cast<const char*>(data) + 1, size - 1});
  } else {
    const auto parts = mora::test::parts_of(data, size, 3);
    for (const char* name : {"ranks.safetensors", "learning.safetensors"})
      directory.write(name, safetensors_file("{}", ""));
    directory.write("state.json", parts[0]);
    directory.write("optimizer.safetensors", safetensors_file(parts[1], parts[2]));
    directory.write("manifest.json", manifest_of(directory));
  }
  try {
    const mora::Checkpoint checkpoint = mora::load_checkpoint(directory.path());
    mora::MoRAOptimizer optimizer({{.name = "w", .value = mora::Tensor::zeros({2, 2})}}, {});
    optimizer.load_state(checkpoint.optimizer);
  } catch (const mora::InternalError&) {
    std::abort();
  } catch (const mora::Error& error) {
    if (std::strchr(error.what(), '\n')) std::abort();
  }
  return 0;
}
