// Any bytes are a safetensors file, each byte of whose tensors can be read, or an IoError.
#include <cstddef>
#include <cstdint>
#include <numeric>

#include "engine/error.h"
#include "fuzz/input_file.h"
#include "loaders/safetensors.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const mora::test::InputFile input(data, size);
  try {
    const auto file = mora::SafetensorsFile::open(input.path());
    for (const mora::TensorInfo& info : file.tensors()) {
      try {
        const mora::Tensor tensor = file.tensor(info);
        const auto* bytes = static_cast<const uint8_t*>(tensor.raw());
        [[maybe_unused]] static volatile uint64_t sum;
        sum = std::accumulate(bytes, bytes + tensor.bytes(), uint64_t{0});
      } catch (const mora::IoError&) {  // a dtype or a rank that MoRA does not compute with
      }
    }
  } catch (const mora::IoError&) {
  }
  return 0;
}
