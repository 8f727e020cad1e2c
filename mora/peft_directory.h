// Adapters in PEFT's format, on a model. (The format itself: loaders/peft.h.)
#pragma once

#include "mora/adapter_directory.h"

namespace mora {

AdapterInfo read_peft_info(const std::filesystem::path& directory);

// LoRA, rsLoRA, DoRA and AdaLoRA, and what was initialised by OLoRA or PiSSA (whose change of the weight is computed
// again, as PEFT does). Throws as load_adapter.
AdapterInfo load_peft(const std::filesystem::path& directory, MoRAModel& model);

// Writes a PEFT directory: DoRA and AdaLoRA as they are, everything else that is exactly a low-rank update as a LoRA.
// Throws ConfigError with the reason where PEFT cannot hold the adapter: MoRA's rotation and decouple, or a head that
// is not that of PEFT's model (pass with_head = false to leave it out).
void save_peft(const std::filesystem::path& directory, MoRAModel& model, const AdapterInfo& info,
               bool with_head = true);

}  // namespace mora
