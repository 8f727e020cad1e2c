// mora config-reference: docs/config.md.
#include <cstdio>

#include "mora/training/config.h"
#include "tools/command.h"

namespace mora {

void add_config_reference(CLI::App& program, Session& session) {
  add_command(program, session, "config-reference",
              "print every key of a configuration with its type, default and meaning",
              [] { std::fputs(config_reference().c_str(), stdout); });
}

}  // namespace mora
