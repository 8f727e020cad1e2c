#include "tools/config_arguments.h"

#include "loaders/quote.h"

namespace mora {

Config ConfigArguments::load(const Session& session) const {
  Config config = load_config(file, overrides);
  if (session.device != cpu) config.device = session.device_word;
  return config;
}

std::string ConfigArguments::words() const {
  std::string text = shell_quote(file);
  for (const std::string& word : overrides) text += " " + shell_quote(word);
  return text;
}

void add_options(CLI::App& command, ConfigArguments& config) {
  command.add_option("CONFIG", config.file, "the configuration, YAML")->required()->type_name("FILE.yaml");
  command.add_option("SETTINGS", config.overrides, "settings that win over the file's, as optimizer.lr=1e-4")
      ->type_name("KEY=VALUE");
}

}  // namespace mora
