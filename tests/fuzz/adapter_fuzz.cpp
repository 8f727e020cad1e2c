// MoRA's adapter directory: mora_config.json, a NUL, the header of adapter.safetensors, a NUL, its data. The golden
// BERT takes it, or it is an Error of one line.
#include <cstring>

#include "engine/error.h"
#include "fuzz/input_directory.h"
#include "mora/adapter_directory.h"
#include "mora/models/registry.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const mora::test::InputDirectory directory({"mora_config.json", "adapter.safetensors"});
  static mora::MoRAModel model(mora::load_model(MORA_SOURCE_DIR "/tests/goldens/models/bert"));
  const auto parts = mora::test::parts_of(data, size, 3);
  directory.write("mora_config.json", parts[0]);
  directory.write("adapter.safetensors", mora::test::safetensors_file(parts[1], parts[2]));
  try {
    mora::load_adapter(directory.path(), model);
    if (model.trainable_parameters() < 0) std::abort();
  } catch (const mora::InternalError&) {
    std::abort();
  } catch (const mora::Error& error) {
    if (std::strchr(error.what(), '\n')) std::abort();
  }
  model.remove_adapters();
  return 0;
}
