#include "loaders/model_files.h"

#include "engine/error.h"
#include "loaders/gguf_model.h"

namespace mora {

ModelFiles open_model_files(const std::filesystem::path& path, DType gguf_dtype) {
  if (path.extension() == ".gguf") {
    auto weights = GgufWeights::open(path, gguf_dtype);
    HfConfig config = gguf_config(weights->file());
    return {std::move(config), std::move(weights)};
  }
  require<IoError>(std::filesystem::exists(path / "config.json"),
                   "{}: no model here; a model is a Hugging Face directory (config.json and what lies beside it) or a "
                   ".gguf file",
                   path.string());
  HfConfig config = read_hf_config(path);
  return {std::move(config), SafetensorsWeights::open(path)};
}

}  // namespace mora
