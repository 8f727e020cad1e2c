// The text side of a model: its tokenizer and chat template, from a Hugging Face directory or out of a GGUF file.
#pragma once

#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "loaders/chat_template/chat_template.h"
#include "loaders/tokenizer/tokenizer.h"

namespace mora {

// Of a directory, its tokenizer.json, or a .gguf file. Throws IoError.
Tokenizer load_tokenizer(const std::filesystem::path& model);

// Nothing where the model has none. Throws IoError, TemplateError.
std::optional<ChatTemplate> load_chat_template(const std::filesystem::path& model);

// bos_token, eos_token and pad_token as templates know them, where the tokenizer has them.
ChatVariables special_tokens(const Tokenizer& tokenizer);

struct ChatTurn {
  std::string role, content;  // role: system, user, assistant
};

// The ids of a chat, up to where the assistant's next answer begins. Throws TemplateError.
std::vector<int32_t> chat_prompt_ids(const Tokenizer& tokenizer, const ChatTemplate& chat_template,
                                     std::span<const ChatTurn> turns);

}  // namespace mora
