// From a path to a model: one line an architecture.
#pragma once

#include <filesystem>

#include "mora/models/model.h"

namespace mora {

// Loads a Hugging Face directory or a .gguf file; activations in `dtype`. Throws IoError for files that are missing or
// wrong, and for an unsupported architecture one that lists the supported ones (loaders/hf_config.h).
std::unique_ptr<Model> load_model(const std::filesystem::path& path, DType dtype = DType::f32);

}  // namespace mora
