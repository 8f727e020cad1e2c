#include "mora/generation/text.h"

namespace mora {

std::optional<ChatTemplate> chat_template_of(const std::string& model, const std::string& adapter) {
  std::optional<ChatTemplate> chat_template;
  if (!adapter.empty()) chat_template = load_chat_template(adapter);
  return chat_template ? chat_template : load_chat_template(model);
}

std::vector<int32_t> stop_tokens(const Model& model, const Tokenizer& tokenizer) {
  std::vector<int32_t> ids;
  for (int64_t id : model.config().eos_token_ids) ids.push_back(int32_t(id));
  if (const auto eos = tokenizer.eos_id()) ids.push_back(*eos);
  return ids;
}

}  // namespace mora
