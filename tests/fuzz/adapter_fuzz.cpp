// MoRA's adapter directory: mora_config.json, a NUL, the header of adapter.safetensors, a NUL, its data. The golden
// BERT takes it and computes with it, or it is an Error of one line that names the file.
#include <string_view>

#include "engine/error.h"
#include "fuzz/input_directory.h"
#include "models/packed.h"
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
    mora::Context context;
    const mora::NoGrad no_grad;
    model.base().hidden_states(mora::packed({{5, 6, 7}}), context);
  } catch (const mora::InternalError&) {
    std::abort();
  } catch (const mora::Error& error) {
    const std::string_view text = error.what();
    if (!text.starts_with(directory.path().string()) || text.find('\n') != text.npos) std::abort();
  }
  model.remove_adapters();
  return 0;
}
