#include "mora/models/registry.h"

#include <algorithm>
#include <charconv>

#include "loaders/model_files.h"
#include "loaders/quote.h"
#include "mora/models/bert.h"
#include "mora/models/gpt2.h"
#include "mora/models/llama.h"

namespace mora {
namespace {

template <class M>
std::unique_ptr<Model> make(HfConfig config, std::shared_ptr<const ModelWeights> weights, DType dtype) {
  return std::make_unique<M>(std::move(config), std::move(weights), dtype);
}

struct Architecture {
  std::string_view model_type;
  std::unique_ptr<Model> (*make)(HfConfig, std::shared_ptr<const ModelWeights>, DType);
};

constexpr Architecture architectures[] = {
    {"bert", make<Bert>},     {"distilbert", make<Bert>}, {"roberta", make<Bert>}, {"llama", make<Llama>},
    {"mistral", make<Llama>}, {"qwen2", make<Llama>},     {"qwen3", make<Llama>},  {"gpt2", make<Gpt2>},
};

// "model.layers.12.mlp.up_proj.weight" → 12: the number of the block that a tensor belongs to, -1 for one outside.
int64_t block_of(std::string_view name) {
  for (size_t dot = name.find('.'); dot != std::string_view::npos; dot = name.find('.', dot + 1)) {
    int64_t block = 0;
    const char *begin = name.data() + dot + 1, *end = name.data() + name.size();
    const auto [stop, error] = std::from_chars(begin, end, block);
    if (error == std::errc() && stop != end && *stop == '.') return block;
  }
  return -1;
}

// A configuration of fewer blocks than the file has would drop the rest without a word.
void check_blocks(const ModelFiles& files, const std::filesystem::path& path) {
  for (const std::string& name : files.weights->names())
    require<IoError>(block_of(name) < files.config.num_hidden_layers,
                     "{}: num_hidden_layers: {}, but {} has the tensor {}",
                     (path.extension() == ".gguf" ? path : path / "config.json").string(),
                     files.config.num_hidden_layers, files.weights->path().filename().string(), quote(name));
}

}  // namespace

std::unique_ptr<Model> load_model(const std::filesystem::path& path, DType dtype) {
  ModelFiles files = open_model_files(path, dtype == DType::bf16 ? DType::bf16 : DType::f32);
  const auto* found = std::ranges::find(architectures, files.config.model_type, &Architecture::model_type);
  invariant(found != std::end(architectures), "{}: {}: a configuration without a model", path.string(),
            files.config.model_type);
  check_blocks(files, path);
  return found->make(std::move(files.config), std::move(files.weights), dtype);
}

}  // namespace mora
