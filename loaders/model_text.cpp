#include "loaders/model_text.h"

#include <nlohmann/json.hpp>

#include "loaders/gguf_model.h"

namespace mora {
namespace {

bool is_gguf(const std::filesystem::path& model) { return model.extension() == ".gguf"; }

}  // namespace

Tokenizer load_tokenizer(const std::filesystem::path& model) {
  if (!is_gguf(model)) return Tokenizer::load(model);
  const GgufFile file = GgufFile::open(model);
  return Tokenizer::from_json(gguf_tokenizer_json(file), gguf_tokenizer_config(file), model.string());
}

std::optional<ChatTemplate> load_chat_template(const std::filesystem::path& model) {
  std::optional<std::string> source =
      is_gguf(model) ? gguf_chat_template(GgufFile::open(model)) : read_chat_template(model);
  if (!source || source->empty()) return std::nullopt;
  return ChatTemplate(std::move(*source));
}

ChatVariables special_tokens(const Tokenizer& tokenizer) {
  ChatVariables variables;
  const auto add = [&](const char* name, std::optional<int32_t> id) {
    if (id) variables.insert_or_assign(name, jinja::Value(tokenizer.id_to_token(*id)));
  };
  add("bos_token", tokenizer.bos_id());
  add("eos_token", tokenizer.eos_id());
  add("pad_token", tokenizer.pad_id());
  return variables;
}

std::vector<int32_t> chat_prompt_ids(const Tokenizer& tokenizer, const ChatTemplate& chat_template,
                                     std::span<const ChatTurn> turns) {
  jinja::List messages;
  for (const ChatTurn& turn : turns) {
    jinja::Dict message;
    message.set("role", jinja::Value(std::string_view(turn.role)));
    message.set("content", jinja::Value(std::string_view(turn.content)));
    messages.items.push_back(std::move(message));
  }
  ChatVariables variables = special_tokens(tokenizer);
  variables.insert_or_assign("add_generation_prompt", true);
  return tokenizer.encode(chat_template.render(messages, variables), false);  // the template writes special tokens
}

}  // namespace mora
