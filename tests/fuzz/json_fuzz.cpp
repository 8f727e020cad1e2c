// Any text is a document or an IoError; what parses prints and parses again to itself.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <nlohmann/json.hpp>

#include "engine/error.h"
#include "loaders/json.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    const auto value = mora::parse_json({reinterpret_cast<const char*>(data), size}, "fuzz");
    if (mora::parse_json(value.dump(), "again") != value) std::abort();
  } catch (const mora::IoError&) {
  }
  return 0;
}
