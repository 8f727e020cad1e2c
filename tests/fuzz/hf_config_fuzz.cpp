// Any document is a configuration whose sizes fit each other, or an IoError.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <nlohmann/json.hpp>

#include "engine/error.h"
#include "loaders/hf_config.h"
#include "loaders/json.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    const std::string_view text(reinterpret_cast<const char*>(data), size);
    const mora::HfConfig config = mora::parse_hf_config(mora::parse_json(text, "fuzz"), "fuzz");
    const bool sound = config.hidden_size > 0 && config.head_dim > 0 &&
                       config.num_attention_heads % config.num_key_value_heads == 0 &&
                       config.windows.size() == static_cast<size_t>(config.num_hidden_layers);
    if (!sound) std::abort();
  } catch (const mora::IoError&) {
  }
  return 0;
}
