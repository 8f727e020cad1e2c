#include "loaders/model_weights.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "engine/error.h"
#include "loaders/durable_file.h"
#include "loaders/json.h"
#include "loaders/quote.h"

namespace mora {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

constexpr std::string_view kIndex = "model.safetensors.index.json";

size_t bytes_of(const TensorToWrite& t) { return static_cast<size_t>(t.meta.shape.numel()) * size_of(t.meta.dtype); }

// A shard is named relative to the index; a name that leaves the directory is refused.
void check_shard_name(const std::string& shard, const std::string& place) {
  const fs::path path(shard);
  const bool inside = !shard.empty() && path.is_relative() && shard.find('\0') == std::string::npos &&
                      std::ranges::find(path, fs::path("..")) == path.end();
  require<IoError>(inside, "{}: shard {} must be a file name inside the model's directory", place, quote(shard));
}

// weight_map: tensor name → shard name.
StringMap read_weight_map(const fs::path& index) {
  const json document = read_json(index);
  const std::string file = index.string();
  require<IoError>(document.is_object() && document.contains("weight_map"), "{}: weight_map is missing", file);
  const json& map = document["weight_map"];
  require<IoError>(map.is_object(), "{}: weight_map: expected an object, got {}", file, map.type_name());
  require<IoError>(!map.empty(), "{}: weight_map is empty", file);
  StringMap shard_of;
  for (const auto& [name, shard] : map.items()) {
    const std::string place = fmt::format("{}: weight_map: {}", file, quote(name));
    require<IoError>(shard.is_string(), "{}: expected a shard's file name, got {}", place, shard.type_name());
    check_shard_name(shard.get_ref<const std::string&>(), place);
    shard_of.emplace(name, shard.get<std::string>());
  }
  return shard_of;
}

}  // namespace

Tensor ModelWeights::load(std::string_view name, const Shape& expected) const {
  require_shape(name, expected);
  return load(name);
}

void ModelWeights::require_shape(std::string_view name, const Shape& expected) const {
  const Shape shape = meta(name).shape;
  require<IoError>(shape == expected, "{}: tensor {} has shape {}, the configuration asks for {}", path().string(),
                   quote(name), shape, expected);
}

int64_t parameter_count(const ModelWeights& weights) {
  int64_t total = 0;
  for (const std::string& name : weights.names()) {
    const Meta meta = weights.meta(name);
    if (is_floating(meta.dtype)) total += meta.shape.numel();
  }
  return total;
}

std::unique_ptr<SafetensorsWeights> SafetensorsWeights::open(const fs::path& directory) {
  std::unique_ptr<SafetensorsWeights> weights(new SafetensorsWeights);
  weights->path_ = directory / "model.safetensors";
  std::error_code ignored;
  if (fs::symlink_status(directory / kIndex, ignored).type() != fs::file_type::not_found &&
      fs::symlink_status(weights->path_, ignored).type() == fs::file_type::not_found) {
    weights->path_ = directory / kIndex;
    weights->open_shards(directory);
    return weights;
  }
  require<IoError>(fs::symlink_status(weights->path_, ignored).type() != fs::file_type::not_found,
                   "{}: no model.safetensors and no {} in it", directory.string(), kIndex);
  weights->files_.push_back(SafetensorsFile::open(weights->path_));
  return weights;
}

void SafetensorsWeights::open_shards(const fs::path& directory) {
  const StringMap shard_of = read_weight_map(path_);
  std::set<std::string> shards;
  for (const auto& [name, shard] : shard_of) shards.insert(shard);
  StringMap found_in;
  for (const std::string& shard : shards) {
    files_.push_back(SafetensorsFile::open(directory / shard));
    for (const TensorInfo& t : files_.back().tensors()) {
      const auto [other, fresh] = found_in.emplace(t.name, shard);
      require<IoError>(fresh, "{}: tensor {} is in two shards, '{}' and '{}'", path_.string(), quote(t.name),
                       other->second, shard);
      const auto listed = shard_of.find(t.name);
      require<IoError>(listed != shard_of.end(), "{}: weight_map: tensor {} of shard '{}' is not listed",
                       path_.string(), quote(t.name), shard);
    }
  }
  for (const auto& [name, shard] : shard_of) {
    const auto found = found_in.find(name);
    require<IoError>(found != found_in.end() && found->second == shard,
                     "{}: weight_map: tensor {} is listed in shard '{}', which does not have it", path_.string(),
                     quote(name), shard);
  }
}

std::vector<std::string> SafetensorsWeights::names() const {
  std::vector<std::string> names;
  for (const SafetensorsFile& file : files_)
    for (const TensorInfo& t : file.tensors()) names.push_back(t.name);
  return names;
}

const SafetensorsFile* SafetensorsWeights::find(std::string_view name) const {
  const auto found = std::ranges::find_if(files_, [&](const SafetensorsFile& f) { return f.find(name) != nullptr; });
  return found == files_.end() ? nullptr : &*found;
}

Tensor SafetensorsWeights::load(std::string_view name) const {
  const SafetensorsFile* file = find(name);
  require<IoError>(file != nullptr, "{}: has no tensor {}", path_.string(), quote(name));
  return file->tensor(name);
}

void write_model_weights(const fs::path& directory, std::vector<TensorToWrite> tensors, size_t shard_bytes) {
  std::vector<std::vector<TensorToWrite>> shards(1);
  size_t in_shard = 0, total = 0;
  for (TensorToWrite& t : tensors) {
    const size_t bytes = bytes_of(t);
    if (!shards.back().empty() && in_shard + bytes > shard_bytes) {
      shards.emplace_back();
      in_shard = 0;
    }
    in_shard += bytes;
    total += bytes;
    shards.back().push_back(std::move(t));
  }
  if (shards.size() == 1) return write_safetensors(directory / "model.safetensors", std::move(shards.front()));
  json weight_map = json::object();
  for (size_t i = 0; i < shards.size(); ++i) {
    const std::string shard = fmt::format("model-{:05}-of-{:05}.safetensors", i + 1, shards.size());
    for (const TensorToWrite& t : shards[i]) weight_map[t.name] = shard;
    write_safetensors(directory / shard, std::move(shards[i]));
  }
  const json index = {{"metadata", {{"total_size", total}}}, {"weight_map", std::move(weight_map)}};
  write_durable(directory / kIndex, index.dump(2) + "\n");
}

}  // namespace mora
