// The weights of a model by their Hugging Face names, wherever they lie: one safetensors file, shards with an index, or
// GGUF (loaders/gguf_model.h).
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "engine/tensor.h"
#include "loaders/safetensors.h"

namespace mora {

class ModelWeights {
 public:
  virtual ~ModelWeights() = default;

  // "model.safetensors", "model.safetensors.index.json" or the GGUF file: what messages name.
  virtual const std::filesystem::path& path() const = 0;
  virtual std::vector<std::string> names() const = 0;
  virtual bool contains(std::string_view name) const = 0;
  // The shape and dtype that load() gives. Throws as it does.
  virtual Meta meta(std::string_view name) const = 0;
  // Throws IoError when the weight is absent or its dtype is none that MoRA computes with.
  virtual Tensor load(std::string_view name) const = 0;

  // As load, for a weight whose shape the configuration tells. Throws IoError that names both when they differ.
  Tensor load(std::string_view name, const Shape& expected) const;
  void require_shape(std::string_view name, const Shape& expected) const;
};

// The elements of all floating-point weights: what a model is said to have as parameters.
int64_t parameter_count(const ModelWeights& weights);

// model.safetensors, or else model.safetensors.index.json with the shards it lists.
class SafetensorsWeights final : public ModelWeights {
 public:
  // Opens and checks every shard: each listed tensor is in its shard, each tensor is listed, none is in two. Throws
  // IoError.
  static std::unique_ptr<SafetensorsWeights> open(const std::filesystem::path& directory);

  const std::filesystem::path& path() const override { return path_; }
  std::vector<std::string> names() const override;
  bool contains(std::string_view name) const override { return find(name) != nullptr; }
  Meta meta(std::string_view name) const override { return load(name).meta(); }  // mapped, so nothing is read
  using ModelWeights::load;
  Tensor load(std::string_view name) const override;

  const std::vector<SafetensorsFile>& files() const { return files_; }

 private:
  const SafetensorsFile* find(std::string_view name) const;  // the file that has it
  void open_shards(const std::filesystem::path& directory);

  std::filesystem::path path_;
  std::vector<SafetensorsFile> files_;
};

// Writes model.safetensors, or shards of at most `shard_bytes` with their index where the tensors need more; a tensor
// larger than that has a shard of its own. The shards are filled in the order given.
void write_model_weights(const std::filesystem::path& directory, std::vector<TensorToWrite> tensors,
                         size_t shard_bytes = 5'000'000'000);

}  // namespace mora
