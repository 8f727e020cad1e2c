// What stands around a language model's text: the template its chats are written by, and the tokens that end it.
#pragma once

#include <string>

#include "loaders/model_text.h"
#include "mora/models/model.h"

namespace mora {

// The chat template of the adapter ("": none), which was trained with it, else of the model. Nothing where neither has
// one.
std::optional<ChatTemplate> chat_template_of(const std::string& model, const std::string& adapter);

// What ends the text: the end tokens of the model and of its tokenizer.
std::vector<int32_t> stop_tokens(const Model& model, const Tokenizer& tokenizer);

}  // namespace mora
