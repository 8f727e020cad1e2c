#include "loaders/peft.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <nlohmann/json.hpp>
#include <optional>

#include "engine/error.h"
#include "loaders/durable_file.h"
#include "loaders/json.h"
#include "loaders/module_pattern.h"
#include "loaders/peft_config.h"
#include "loaders/quote.h"
#include "loaders/safetensors.h"

namespace mora {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kPrefix = "base_model.model.";
constexpr const char* kConfigFile = "adapter_config.json";
constexpr const char* kWeightsFile = "adapter_model.safetensors";
constexpr const char* kLabels = "id2label";

struct Suffix {
  std::string_view text;
  Tensor PeftModule::*tensor;
  bool embedding;
};

constexpr std::array<Suffix, 9> kSuffixes = {{
    {".lora_A.weight", &PeftModule::a, false},
    {".lora_B.weight", &PeftModule::b, false},
    {".lora_embedding_A", &PeftModule::a, true},
    {".lora_embedding_B", &PeftModule::b, true},
    {".lora_magnitude_vector", &PeftModule::magnitude, false},
    {".lora_A", &PeftModule::a, false},
    {".lora_B", &PeftModule::b, false},
    {".lora_E", &PeftModule::e, false},
    {".base_layer.weight", &PeftModule::base, false},
}};

// How the writer spells a tensor of a module.
std::string_view suffix_of(Tensor PeftModule::*tensor, bool embedding, bool adalora) {
  const bool matrix = tensor == &PeftModule::a || tensor == &PeftModule::b;
  if (matrix && adalora) return tensor == &PeftModule::a ? ".lora_A" : ".lora_B";
  const auto wanted = [&](const Suffix& s) { return s.tensor == tensor && s.embedding == (embedding && matrix); };
  return std::ranges::find_if(kSuffixes, wanted)->text;
}

// Whether a path component of the name is one of the modules trained whole, or begins a path of several components.
bool is_saved(std::string_view name, const std::vector<std::string>& modules) {
  const std::string path = fmt::format(".{}", name);
  return std::ranges::any_of(
      modules, [&](const std::string& module) { return path.find(fmt::format(".{}.", module)) != std::string::npos; });
}

bool all_finite(const Tensor& t) {
  const auto finite = [](auto x) { return std::isfinite(static_cast<double>(x)); };
  const auto narrow = [](auto x) { return std::isfinite(static_cast<float>(x)); };
  switch (t.dtype()) {
    case DType::f64: return std::ranges::all_of(t.values<double>(), finite);
    case DType::f32: return std::ranges::all_of(t.values<float>(), finite);
    case DType::bf16: return std::ranges::all_of(t.values<bf16_t>(), narrow);
    case DType::f16: return std::ranges::all_of(t.values<f16_t>(), narrow);
    default: return true;
  }
}

class Reader {
 public:
  explicit Reader(const fs::path& directory) : config_file_(directory / kConfigFile), weights_(open(directory)) {
    adapter_.config = read_peft_config(config_file_);
  }

  PeftAdapter read() {
    for (const TensorInfo& info : weights_.tensors()) place(info);
    for (const auto& [path, module] : adapter_.modules) check(path, module);
    check_targets();
    adapter_.labels = read_labels();
    require<IoError>(!adapter_.modules.empty(), "{}: has no adapter tensor (lora_A, lora_B)", file());
    return std::move(adapter_);
  }

 private:
  // The weights, after a look at what is there: half an adapter deserves a better error than a missing file.
  SafetensorsFile open(const fs::path& directory) const {
    std::error_code ignored;
    const bool config = fs::exists(config_file_, ignored), weights = fs::exists(directory / kWeightsFile, ignored);
    require<IoError>(config || weights, "{}: no PEFT adapter: it has no {}", directory.string(), kConfigFile);
    require<IoError>(config, "{}: has {} but no {}", directory.string(), kWeightsFile, kConfigFile);
    require<IoError>(weights, "{}: has {} but no {}{}", directory.string(), kConfigFile, kWeightsFile,
                     fs::exists(directory / "adapter_model.bin", ignored)
                         ? "; save the adapter as safetensors, adapter_model.bin is a pickle"
                         : "");
    return SafetensorsFile::open(directory / kWeightsFile);
  }

  std::string file() const { return weights_.path().string(); }

  void place(const TensorInfo& info) {
    const std::string where = fmt::format("{}: tensor {}", file(), quote(info.name));
    require<IoError>(info.name.starts_with(kPrefix), "{}: expected a name that begins with {}", where, kPrefix);
    Tensor tensor = weights_.tensor(info);
    require<IoError>(all_finite(tensor), "{}: has values that are not finite (NaN or infinity)", where);
    const std::string name = info.name.substr(kPrefix.size());
    const auto suffix = std::ranges::find_if(kSuffixes, [&](const Suffix& s) { return name.ends_with(s.text); });
    if (suffix == kSuffixes.end()) {
      require<IoError>(is_saved(name, adapter_.config.modules_to_save),
                       "{}: unexpected: no adapter tensor, and in none of modules_to_save", where);
      adapter_.saved.emplace(name, std::move(tensor));
      return;
    }
    require<IoError>(is_floating(tensor.dtype()), "{}: expected a floating type, got {}", where, info.dtype);
    PeftModule& module = adapter_.modules[name.substr(0, name.size() - suffix->text.size())];
    require<IoError>(!(module.*suffix->tensor).defined(), "{}: the module has two of it", where);
    module.*suffix->tensor = std::move(tensor);
    module.embedding = module.embedding || suffix->embedding;
  }

  void check(const std::string& path, const PeftModule& module) const {
    const std::string where = fmt::format("{}: module {}", file(), quote(path));
    const PeftConfig& config = adapter_.config;
    const bool adalora = config.kind == PeftConfig::Kind::adalora;
    require<IoError>(module.a.defined() && module.b.defined(), "{}: {} is missing", where,
                     module.a.defined() ? "lora_B" : "lora_A");
    require<IoError>(module.a.rank() == 2 && module.b.rank() == 2, "{}: lora_A {} and lora_B {}: expected matrices",
                     where, module.a.shape(), module.b.shape());
    require<IoError>(!module.embedding || !(adalora || config.use_dora), "{}: {} on an embedding is not supported",
                     where, adalora ? "ADALORA" : "use_dora");
    const int64_t rank = adalora ? module.a.dim(0) : config.rank_of(path);
    const bool swapped = module.a.dim(0) != rank && module.a.dim(1) == rank && module.b.dim(0) == rank;
    require<IoError>(!swapped, "{}: lora_A {} and lora_B {} are swapped: expected ({}, in) and (out, {})", where,
                     module.a.shape(), module.b.shape(), rank, rank);
    require<IoError>(module.a.dim(0) == rank && module.b.dim(1) == rank,
                     "{}: lora_A {} and lora_B {}: expected ({}, in) and (out, {}), the rank of {}", where,
                     module.a.shape(), module.b.shape(), rank, rank, adalora ? "lora_A" : kConfigFile);
    check_extra(where, module.magnitude, "lora_magnitude_vector", "use_dora", config.use_dora, {module.b.dim(0)});
    check_extra(where, module.e, "lora_E", "ADALORA", adalora, {rank, 1});
  }

  void check_targets() const {
    const PeftConfig& config = adapter_.config;
    std::optional<ModulePattern> pattern;
    if (!config.target_expression.empty() && config.target_expression != "all-linear")
      pattern.emplace(config.target_expression, config_file_.string() + ": target_modules");
    for (const auto& [path, module] : adapter_.modules) {
      const std::string dotted = fmt::format(".{}", path);  // clang 14 captures no structured binding
      const auto names = [&](const std::string& target) { return dotted.ends_with(fmt::format(".{}", target)); };
      const bool named = pattern                          ? pattern->matches(path)
                         : !config.target_modules.empty() ? std::ranges::any_of(config.target_modules, names)
                                                          : true;
      require<IoError>(named, "{}: module {}: target_modules of {} does not name it", file(), quote(path), kConfigFile);
    }
  }

  std::vector<std::string> read_labels() const {
    const auto found = weights_.metadata().find(kLabels);
    if (found == weights_.metadata().end()) return {};
    const std::string place = fmt::format("{}: __metadata__: {}", file(), kLabels);
    const nlohmann::json list = parse_json(found->second, place);
    const bool strings = list.is_array() && std::ranges::all_of(list, [](const auto& x) { return x.is_string(); });
    require<IoError>(strings, "{}: expected an array of strings", place);
    return list.get<std::vector<std::string>>();
  }

  static void check_extra(const std::string& where, const Tensor& tensor, const char* name, const char* setting,
                          bool wanted, const Shape& shape) {
    require<IoError>(tensor.defined() || !wanted, "{}: {} is missing, {} asks for it", where, name, setting);
    require<IoError>(!tensor.defined() || wanted, "{}: {} is there without {}", where, name, setting);
    require<IoError>(!wanted || tensor.shape() == shape, "{}: {} has shape {}, expected {}", where, name,
                     wanted ? tensor.shape() : shape, shape);
  }

  fs::path config_file_;
  SafetensorsFile weights_;
  PeftAdapter adapter_;
};

}  // namespace

PeftAdapter read_peft(const fs::path& directory) { return Reader(directory).read(); }

void write_peft(const fs::path& directory, const PeftAdapter& adapter) {
  const bool adalora = adapter.config.kind == PeftConfig::Kind::adalora;
  std::map<std::string, Tensor> tensors;
  for (const auto& [path, module] : adapter.modules)
    for (auto member : {&PeftModule::a, &PeftModule::b, &PeftModule::magnitude, &PeftModule::e})
      if ((module.*member).defined())
        tensors.emplace(fmt::format("{}{}{}", kPrefix, path, suffix_of(member, module.embedding, adalora)),
                        module.*member);
  for (const auto& [name, tensor] : adapter.saved) tensors.emplace(fmt::format("{}{}", kPrefix, name), tensor);
  StringMap metadata{{"format", "pt"}};
  if (!adapter.labels.empty()) metadata.emplace(kLabels, nlohmann::json(adapter.labels).dump());
  write_safetensors(directory / kWeightsFile, tensors, metadata);
  write_durable(directory / kConfigFile, peft_config_text(adapter));
  write_durable(directory / "README.md", peft_card_text(adapter));
}

}  // namespace mora
