// A run's YAML: any text is a configuration, whose resolved text is read back to an equal one, or a ConfigError of one
// line.
#include "mora/training/config.h"

#include <cstdint>
#include <cstdlib>
#include <cstring>

#include "engine/error.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    const mora::Config config = mora::parse_config({reinterpret_cast<const char*>(data), size}, "fuzz");
    if (!(mora::parse_config(mora::to_yaml(config), "again") == config)) std::abort();
  } catch (const mora::ConfigError& error) {
    if (std::strchr(error.what(), '\n')) std::abort();
  }
  return 0;
}
