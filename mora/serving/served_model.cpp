#include "mora/serving/served_model.h"

#include <algorithm>

#include "mora/model_head.h"
#include "mora/models/registry.h"

namespace mora {
namespace {

constexpr int64_t kDefaultContext = 4096;

// models/minilm/ → minilm, models/x.Q4_1.gguf → x.Q4_1
std::string own_name(const std::filesystem::path& path) {
  const std::filesystem::path whole = std::filesystem::absolute(path).lexically_normal();
  if (whole.extension() == ".gguf") return whole.stem().string();
  return (whole.has_filename() ? whole : whole.parent_path()).filename().string();
}

int64_t context_of(const HfConfig& config, int64_t wanted) {
  const int64_t trained = config.max_position_embeddings > 0 ? config.max_position_embeddings : kDefaultContext;
  const int64_t most = std::min(longest_sequence(config), trained);
  require<ConfigError>(wanted <= most, "--context {}: the model was trained for {} tokens", wanted, most);
  return wanted > 0 ? wanted : std::min(most, kDefaultContext);
}

// A language model has no token that stands for the text: its mean does. Others as `mora forward --what embedding`.
Pooling own_pooling(const std::string& path, const Model& model) {
  if (model.lm_head()) return Pooling::mean;
  const auto head = read_model_head(path, model);
  return head ? head->pooling : resolve_pooling("auto", model, path);
}

}  // namespace

int64_t ServedModel::cache_bytes_of_token() const {
  const HfConfig& c = model->base().config();
  return 2 * c.num_hidden_layers * c.num_key_value_heads * c.head_dim * int64_t(size_of(model->base().dtype()));
}

ServedModel load_served_model(const ServedModelOptions& o) {
  auto model = std::make_unique<MultiAdapterModel>(load_model(o.model, o.precision), o.device);
  const Model& base = model->base();
  Tokenizer tokenizer = load_tokenizer(o.model);
  std::vector<int32_t> ends = stop_tokens(base, tokenizer);
  ServedModel served{.model = std::move(model),
                     .tokenizer = std::move(tokenizer),
                     .names = {o.name.empty() ? own_name(o.model) : o.name},
                     .templates = {chat_template_of(o.model, "")},
                     .pooling = {own_pooling(o.model, base)},
                     .stop_tokens = std::move(ends),
                     .context = context_of(base.config(), o.context)};
  for (const auto& [name, directory] : o.adapters) {
    require<ConfigError>(std::ranges::find(served.names, name) == served.names.end(),
                         "--adapter {}={}: two models would be called '{}'", name, directory, name);
    const size_t adapter = served.model->load(directory);
    served.names.push_back(name);
    served.templates.push_back(chat_template_of(o.model, directory));
    served.pooling.push_back(served.model->pooling(adapter).value_or(served.pooling[0]));
  }
  return served;
}

}  // namespace mora
