// adapter_config.json alone: a configuration whose ranks and scales are numbers, which is written and read to itself,
// or an Error.
#include "loaders/peft_config.h"

#include <cmath>

#include "engine/error.h"
#include "fuzz/input_directory.h"

namespace {

constexpr const char *kFile = "adapter_config.json", *kModule = "base.layer.1.attention.self.query";

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const mora::test::InputDirectory directory({kFile});
  directory.write(kFile, {reinterpret_cast<const char*>(data), size});
  try {
    mora::PeftAdapter adapter;
    adapter.config = mora::read_peft_config(directory / kFile);
    if (!std::isfinite(adapter.config.scaling_of(kModule))) std::abort();
    const std::string text = mora::peft_config_text(adapter);
    directory.write(kFile, text);
    adapter.config = mora::read_peft_config(directory / kFile);
    if (mora::peft_config_text(adapter) != text) std::abort();
  } catch (const mora::InternalError&) {
    std::abort();
  } catch (const mora::Error&) {
  }
  return 0;
}
