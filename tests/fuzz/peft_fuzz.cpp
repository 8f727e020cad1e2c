// PEFT's adapter directory: adapter_config.json, a NUL, the header of adapter_model.safetensors, a NUL, its data. It is
// an adapter whose parts fit each other, or an Error of one line that names the file.
#include "loaders/peft.h"

#include "engine/error.h"
#include "fuzz/input_directory.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const mora::test::InputDirectory directory({"adapter_config.json", "adapter_model.safetensors"});
  const auto parts = mora::test::parts_of(data, size, 3);
  directory.write("adapter_config.json", parts[0]);
  directory.write("adapter_model.safetensors", mora::test::safetensors_file(parts[1], parts[2]));
  try {
    const mora::PeftAdapter adapter = mora::read_peft(directory.path());
    for (const auto& [name, module] : adapter.modules)
      if (module.a.dim(0) != module.b.dim(1)) std::abort();
  } catch (const mora::InternalError&) {
    std::abort();
  } catch (const mora::Error& error) {
    const std::string_view text = error.what();
    if (!text.starts_with(directory.path().string()) || text.find('\n') != text.npos) std::abort();
  }
  return 0;
}
