// The trained head of a Hugging Face directory for sequence classification or regression.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

#include "mora/models/heads.h"

namespace mora {

// The module of config.json's …ForSequenceClassification that turns a pooled sequence into logits: "classifier", or
// RoBERTa's "classifier.out_proj". Empty for families whose class does not compute our head (it reads the last token).
std::string_view head_module(std::string_view model_type);

// config.json's key for how a merged head pools, where that is not what the family's own class does.
constexpr const char* kPoolingKey = "mora_pooling";

struct ModelHead {
  Pooling pooling;
  Classifier classifier;
};

// The head of a directory whose weights have one, pooling as config.json's `mora_pooling` says, else as head.pooling:
// auto does. Nothing for other directories and GGUF files. Throws IoError for a head of the wrong shape.
std::optional<ModelHead> read_model_head(const std::filesystem::path& directory, const Model& model);

}  // namespace mora
