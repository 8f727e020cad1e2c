#include "mora/models/registry.h"

#include <algorithm>

#include "loaders/model_files.h"
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

}  // namespace

std::unique_ptr<Model> load_model(const std::filesystem::path& path, DType dtype) {
  ModelFiles files = open_model_files(path, dtype == DType::bf16 ? DType::bf16 : DType::f32);
  const auto* found = std::ranges::find(architectures, files.config.model_type, &Architecture::model_type);
  invariant(found != std::end(architectures), "{}: {}: a configuration without a model", path.string(),
            files.config.model_type);
  return found->make(std::move(files.config), std::move(files.weights), dtype);
}

}  // namespace mora
