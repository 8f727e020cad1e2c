// Where a model comes from: a Hugging Face directory or one GGUF file.
#pragma once

#include <filesystem>
#include <memory>

#include "loaders/hf_config.h"
#include "loaders/model_weights.h"

namespace mora {

struct ModelFiles {
  HfConfig config;
  std::unique_ptr<ModelWeights> weights;
};

// A path that ends in .gguf is a GGUF file, whose weights become `gguf_dtype` (f32 or bf16); any other is a directory,
// whose weights stay as they are. Throws IoError.
ModelFiles open_model_files(const std::filesystem::path& path, DType gguf_dtype = DType::f32);

}  // namespace mora
