// mora inspect: the tensors and metadata of a model, an adapter, a checkpoint or a file.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>
#include <numeric>

#include "engine/error.h"
#include "loaders/gguf.h"
#include "loaders/hf_config.h"
#include "loaders/json.h"
#include "loaders/model_weights.h"
#include "loaders/quote.h"
#include "loaders/safetensors.h"
#include "tools/command.h"

namespace mora {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

struct Row {
  std::string name, dtype;
  std::vector<uint64_t> shape;
  uint64_t bytes = 0;
};

struct Inspection {
  std::string kind;
  Json facts = Json::object();  // what is not a tensor
  std::vector<Row> rows{};
};

void add_rows(Inspection& found, const SafetensorsFile& file) {
  for (const TensorInfo& tensor : file.tensors())
    found.rows.push_back({tensor.name, std::string(tensor.dtype), tensor.shape, tensor.bytes()});
}

void add_safetensors_in(Inspection& found, const fs::path& directory) {
  std::vector<fs::path> paths;
  for (const auto& entry : fs::directory_iterator(directory))
    if (entry.path().extension() == ".safetensors") paths.push_back(entry.path());
  std::sort(paths.begin(), paths.end());
  for (const fs::path& path : paths) add_rows(found, SafetensorsFile::open(path));
}

Inspection inspect_model(const fs::path& directory) {
  const HfConfig config = read_hf_config(directory);
  Inspection found{.kind = "model"};
  found.facts = {{"model_type", config.model_type},
                 {"architectures", config.architectures},
                 {"layers", config.num_hidden_layers},
                 {"hidden_size", config.hidden_size},
                 {"vocab_size", config.vocab_size}};
  const auto weights = SafetensorsWeights::open(directory);
  for (const SafetensorsFile& file : weights->files()) add_rows(found, file);
  return found;
}

Inspection inspect_directory(const fs::path& directory) {
  const std::pair<const char*, const char*> kinds[] = {
      {"mora_config.json", "adapter"}, {"adapter_config.json", "adapter"}, {"manifest.json", "checkpoint"}};
  for (const auto& [file, kind] : kinds) {
    if (!fs::exists(directory / file)) continue;
    Inspection found{.kind = kind, .facts = {{"config", read_json(directory / file)}}};
    add_safetensors_in(found, directory);
    return found;
  }
  require<IoError>(
      fs::exists(directory / "config.json"),
      "{}: no model (config.json), adapter (mora_config.json, adapter_config.json) or checkpoint (manifest.json)",
      directory.string());
  return inspect_model(directory);
}

// The values of a GGUF file but for its arrays, of which the length.
Json gguf_metadata(const GgufFile& file) {
  Json metadata = Json::object();
  for (const auto& [key, value] : file.values()) {
    if (value.is_array)
      metadata[key] = fmt::format("[{} values]", value.count);
    else if (value.type == GgufValueType::string)
      metadata[key] = file.string(key);
    else if (value.type == GgufValueType::boolean)
      metadata[key] = file.boolean(key);
    else if (value.type == GgufValueType::f32 || value.type == GgufValueType::f64)
      metadata[key] = file.number(key);
    else
      metadata[key] = file.integer(key);
  }
  return metadata;
}

Inspection inspect_gguf(const fs::path& path) {
  const GgufFile file = GgufFile::open(path);
  Inspection found{.kind = file.string("general.type", "model") == "adapter" ? "adapter" : "model"};
  found.facts["metadata"] = gguf_metadata(file);
  for (const GgufTensor& tensor : file.tensors())
    found.rows.push_back({tensor.name,
                          std::string(format_of(tensor.type).name),
                          {tensor.shape.begin(), tensor.shape.end()},
                          tensor.bytes});
  return found;
}

Inspection inspect_path(const fs::path& path) {
  require<IoError>(fs::exists(path), "{}: no such file or directory", path.string());
  if (fs::is_directory(path)) return inspect_directory(path);
  if (path.extension() == ".gguf") return inspect_gguf(path);
  const SafetensorsFile file = SafetensorsFile::open(path);
  Inspection found{.kind = "file", .facts = {{"metadata", file.metadata()}}};
  add_rows(found, file);
  return found;
}

void inspect(const fs::path& path, const Session& session) {
  const Inspection found = inspect_path(path);
  Json tensors = Json::array();
  uint64_t values = 0, bytes = 0;
  fmt::print("{} {}\n", found.kind, path.string());
  for (const auto& fact : found.facts.items())
    fmt::print("  {}: {}\n", fact.key(), fact.value().dump(-1, ' ', false, Json::error_handler_t::replace));
  for (const Row& row : found.rows) {
    values += std::accumulate(row.shape.begin(), row.shape.end(), uint64_t{1}, std::multiplies<>());
    bytes += row.bytes;
    fmt::print("  {:<64} {:<5} {:>12}  [{}]\n", quote(row.name), row.dtype, row.bytes, fmt::join(row.shape, ", "));
    if (session.json)
      tensors.push_back({{"name", row.name}, {"dtype", row.dtype}, {"shape", row.shape}, {"bytes", row.bytes}});
  }
  fmt::print("{} tensors, {} values, {} bytes\n", found.rows.size(), values, bytes);
  Json result{{"kind", found.kind}, {"path", path.string()}};
  result.update(found.facts);
  result["values"] = values;
  result["bytes"] = bytes;
  result["tensors"] = std::move(tensors);
  session.print_result(result);
}

}  // namespace

void add_inspect(CLI::App& program, Session& session) {
  const auto path = std::make_shared<std::string>();
  CLI::App* command = add_command(program, session, "inspect",
                                  "list the tensors and metadata of a model, an adapter, a checkpoint or a file",
                                  [path, &session] { inspect(*path, session); });
  command->add_option("PATH", *path, "what to look into")->required();
}

}  // namespace mora
