// What the commands that write text share.
#pragma once

#include "mora/generation/generate.h"
#include "mora/generation/text.h"
#include "tools/command.h"

namespace mora {

// chat_template_of, which throws ConfigError where neither has one.
ChatTemplate template_of(const std::string& model, const std::string& adapter);

// Declares --max-tokens --temperature --top-k --top-p --repetition-penalty --seed.
void add_options(CLI::App& command, GenerationOptions& options);

}  // namespace mora
