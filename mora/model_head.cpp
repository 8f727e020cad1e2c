#include "mora/model_head.h"

#include <nlohmann/json.hpp>

#include "autograd/ops/shape.h"
#include "loaders/json.h"
#include "loaders/model_weights.h"

namespace mora {

std::string_view head_module(std::string_view model_type) {
  if (model_type == "roberta") return "classifier.out_proj";
  return model_type == "bert" || model_type == "distilbert" ? "classifier" : "";
}

std::optional<ModelHead> read_model_head(const std::filesystem::path& directory, const Model& model) {
  const std::string module(head_module(model.config().model_type));
  if (module.empty()) return std::nullopt;  // so also for GGUF files, which are decoders
  const auto weights = SafetensorsWeights::open(directory);
  if (!weights->contains(module + ".weight") || !weights->contains(module + ".bias")) return std::nullopt;
  const int64_t d = model.config().hidden_size, classes = weights->meta(module + ".bias").shape.numel();
  const nlohmann::json config = parse_json(model.config().json_text, (directory / "config.json").string());
  const std::string pooling =
      config.contains(kPoolingKey) && config[kPoolingKey].is_string() ? config[kPoolingKey].get<std::string>() : "auto";
  return ModelHead{resolve_pooling(pooling, model, directory),
                   {leaf(cast(weights->load(module + ".weight", {classes, d}), DType::f32)),
                    leaf(cast(weights->load(module + ".bias", {classes}), DType::f32))}};
}

}  // namespace mora
