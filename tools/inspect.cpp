// mora inspect: the tensors and metadata of a model, an adapter, a checkpoint or a file.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <memory>
#include <nlohmann/json.hpp>

#include "engine/error.h"
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

struct Inspection {
  std::string kind;
  Json facts = Json::object();  // what is not a tensor
  std::vector<SafetensorsFile> files;
};

std::vector<SafetensorsFile> safetensors_in(const fs::path& directory) {
  std::vector<fs::path> paths;
  for (const auto& entry : fs::directory_iterator(directory))
    if (entry.path().extension() == ".safetensors") paths.push_back(entry.path());
  std::sort(paths.begin(), paths.end());
  std::vector<SafetensorsFile> files;
  for (const fs::path& path : paths) files.push_back(SafetensorsFile::open(path));
  return files;
}

Inspection inspect_model(const fs::path& directory) {
  Inspection found{.kind = "model", .facts = Json::object(), .files = {}};
  const HfConfig config = read_hf_config(directory);
  found.facts["model_type"] = config.model_type;
  found.facts["architectures"] = config.architectures;
  found.facts["layers"] = config.num_hidden_layers;
  found.facts["hidden_size"] = config.hidden_size;
  found.facts["vocab_size"] = config.vocab_size;
  SafetensorsWeights::open(directory);  // the index and its shards agree
  found.files = safetensors_in(directory);
  return found;
}

Inspection inspect_directory(const fs::path& directory) {
  for (const char* config : {"mora_config.json", "adapter_config.json"})
    if (fs::exists(directory / config))
      return {
          .kind = "adapter", .facts = {{"config", read_json(directory / config)}}, .files = safetensors_in(directory)};
  if (fs::exists(directory / "config.json")) return inspect_model(directory);
  if (fs::exists(directory / "manifest.json"))
    return {.kind = "checkpoint",
            .facts = {{"manifest", read_json(directory / "manifest.json")}},
            .files = safetensors_in(directory)};
  fail<IoError>(
      "{}: no model (config.json), adapter (mora_config.json, adapter_config.json) or checkpoint (manifest.json)",
      directory.string());
}

Inspection inspect_path(const fs::path& path) {
  require<IoError>(fs::exists(path), "{}: no such file or directory", path.string());
  if (fs::is_directory(path)) return inspect_directory(path);
  Inspection found{.kind = "file", .facts = Json::object(), .files = {}};
  found.files.push_back(SafetensorsFile::open(path));
  found.facts["metadata"] = found.files.front().metadata();
  return found;
}

void inspect(const fs::path& path, const Session& session) {
  const Inspection found = inspect_path(path);
  Json tensors = Json::array();
  uint64_t parameters = 0, bytes = 0;
  fmt::print("{} {}\n", found.kind, path.string());
  for (const auto& [key, value] : found.facts.items())
    fmt::print("  {}: {}\n", key, value.dump(-1, ' ', false, Json::error_handler_t::replace));
  for (const SafetensorsFile& file : found.files) {
    for (const TensorInfo& tensor : file.tensors()) {
      uint64_t elements = 1;
      for (uint64_t size : tensor.shape) elements *= size;
      parameters += elements;
      bytes += tensor.bytes();
      fmt::print("  {:<64} {:<5} {:>12}  [{}]\n", quote(tensor.name), tensor.dtype, tensor.bytes(),
                 fmt::join(tensor.shape, ", "));
      tensors.push_back(
          {{"name", tensor.name}, {"dtype", tensor.dtype}, {"shape", tensor.shape}, {"bytes", tensor.bytes()}});
    }
  }
  fmt::print("{} tensors, {} values, {} bytes\n", tensors.size(), parameters, bytes);
  Json result{{"kind", found.kind}, {"path", path.string()}};
  result.update(found.facts);
  result["values"] = parameters;
  result["bytes"] = bytes;
  result["tensors"] = std::move(tensors);
  session.print_result(result);
}

}  // namespace

void add_inspect(CLI::App& program, Session& session) {
  const auto path = std::make_shared<std::string>();
  CLI::App* command =
      add_command(program, session, "inspect",
                  "list the tensors and metadata of a model, an adapter, a checkpoint or a safetensors file",
                  [path, &session] { inspect(*path, session); });
  command->add_option("PATH", *path, "what to look into")->required();
}

}  // namespace mora
