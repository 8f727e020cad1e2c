// What the commands that write text share.
#pragma once

#include "loaders/model_text.h"
#include "mora/generation/generate.h"
#include "tools/command.h"

namespace mora {

// The chat template of the adapter, which was trained with it, else of the model. Throws ConfigError where neither has
// one.
ChatTemplate template_of(const std::string& model, const std::string& adapter);

// What ends the text: the end tokens of the model and of its tokenizer.
std::vector<int32_t> stop_tokens(const Model& model, const Tokenizer& tokenizer);

// Declares --max-tokens --temperature --top-k --top-p --repetition-penalty --seed.
void add_options(CLI::App& command, GenerationOptions& options);

}  // namespace mora
