// From a path to a model: one line an architecture.
#pragma once

#include <filesystem>

#include "mora/models/model.h"

namespace mora {

// Loads a Hugging Face directory; activations in `dtype`. Throws IoError for files that are missing or wrong,
// ConfigError that lists the supported architectures for one that is not.
std::unique_ptr<Model> load_model(const std::filesystem::path& path, DType dtype = DType::f32);

}  // namespace mora
