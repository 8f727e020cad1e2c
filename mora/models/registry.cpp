#include "mora/models/registry.h"

#include "mora/models/bert.h"

namespace mora {
namespace {

template <class M>
std::unique_ptr<Model> make(HfConfig config, const ModelWeights& weights, DType dtype) {
  return std::make_unique<M>(std::move(config), weights, dtype);
}

struct Architecture {
  std::string_view model_type;
  std::unique_ptr<Model> (*make)(HfConfig, const ModelWeights&, DType);
};

constexpr Architecture architectures[] = {
    {"bert", make<Bert>},
    {"roberta", make<Bert>},
};

}  // namespace

std::unique_ptr<Model> load_model(const std::filesystem::path& path, DType dtype) {
  HfConfig config = read_hf_config(path);
  const auto weights = SafetensorsWeights::open(path);
  std::string known;
  for (const Architecture& a : architectures) {
    if (a.model_type == config.model_type) return a.make(std::move(config), *weights, dtype);
    known += (known.empty() ? "" : ", ") + std::string(a.model_type);
  }
  fail<ConfigError>("{}: model_type '{}' is not supported; supported: {}", (path / "config.json").string(),
                    config.model_type, known);
}

}  // namespace mora
