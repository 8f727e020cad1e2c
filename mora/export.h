// An adapter for llama.cpp. (PEFT's format is in mora/peft_directory.h.)
#pragma once

#include <filesystem>

#include "mora/mora_model.h"

namespace mora {

// Writes the adapter as a GGUF LoRA: LoRA, and those MoRA operators that are exactly a LoRA of rank r̂. GGUF has one
// α for all modules, where module i is multiplied by α/rᵢ: what a module's own scale differs from that goes into its B.
// Returns whether every value is the adapter's own, so whether nothing was rounded on the way. Throws ConfigError with
// the reason for an adapter that GGUF cannot hold (rotation, decouple), IoError for modules without a GGUF name.
bool save_gguf_lora(const std::filesystem::path& file, MoRAModel& model);

}  // namespace mora
