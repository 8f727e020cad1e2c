// adapter_config.json alone; the public door is loaders/peft.h.
#pragma once

#include <string>

#include "loaders/peft.h"

namespace mora {

// Throws IoError that names file and field.
PeftConfig read_peft_config(const std::filesystem::path& file);

// The text of adapter_config.json. AdaLoRA adapters whose ranks fell below r list the kept ranks of their modules.
std::string peft_config_text(const PeftAdapter& adapter);

// README.md: the front matter the Hub indexes, and a paragraph.
std::string peft_card_text(const PeftAdapter& adapter);

}  // namespace mora
