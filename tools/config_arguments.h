// CONFIG.yaml [KEY=VALUE …] of the commands that read a configuration.
#pragma once

#include "mora/training/config.h"
#include "tools/command.h"

namespace mora {

struct ConfigArguments {
  std::string file;
  std::vector<std::string> overrides;

  // --device wins over the file's.
  Config load(const Session& session) const;
  std::string words() const;  // for a command line
};

void add_options(CLI::App& command, ConfigArguments& config);

}  // namespace mora
