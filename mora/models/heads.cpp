#include "mora/models/heads.h"

#include <nlohmann/json.hpp>

#include "autograd/ops/arithmetic.h"
#include "autograd/ops/matmul.h"
#include "autograd/ops/shape.h"
#include "loaders/json.h"

namespace mora {

Classifier Classifier::fresh(int64_t classes, int64_t d, uint64_t seed) {
  const RandomStream stream({.seed = seed, .purpose = Purpose::init});
  std::vector<float> values(size_t(classes * d));
  for (size_t i = 0; i < values.size(); ++i) values[i] = float(0.02 * stream.normal(i));
  return {leaf(Tensor::from(values, {classes, d})), leaf(Tensor::zeros({classes}))};
}

Tensor Classifier::forward(const Tensor& pooled) const {
  return matmul(cast(pooled, weight.dtype()), weight, false, true) + bias;
}

namespace {

// 1_Pooling/config.json of sentence-transformers: one of its pooling_mode_… flags is true.
Pooling pooling_of_sentence_transformer(const std::filesystem::path& file) {
  const nlohmann::json config = read_json(file);
  auto is_set = [&](const char* key) {
    return config.is_object() && config.contains(key) && config[key].is_boolean() && config[key].get<bool>();
  };
  const bool cls = is_set("pooling_mode_cls_token"), mean = is_set("pooling_mode_mean_tokens");
  require<ConfigError>(cls != mean,
                       "{}: neither or both of pooling_mode_cls_token and pooling_mode_mean_tokens; set head.pooling",
                       file.string());
  return cls ? Pooling::cls : Pooling::mean;
}

}  // namespace

Pooling resolve_pooling(std::string_view word, const Model& model, const std::filesystem::path& directory) {
  if (word == "pooler" || word == "cls" || word == "mean") {
    const Pooling pooling = word == "pooler" ? Pooling::pooler : word == "cls" ? Pooling::cls : Pooling::mean;
    require<ConfigError>(pooling != Pooling::pooler || model.has_pooler(),
                         "head.pooling: pooler: {} has no pooler weights; use cls or mean", directory.string());
    return pooling;
  }
  require<ConfigError>(word == "auto", "head.pooling: '{}': expected auto, pooler, cls or mean", word);
  const auto file = directory / "1_Pooling" / "config.json";
  if (std::filesystem::exists(file)) return pooling_of_sentence_transformer(file);
  return model.has_pooler() ? Pooling::pooler : Pooling::cls;
}

}  // namespace mora
