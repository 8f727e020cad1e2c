#include "tools/language_model.h"

#include "engine/error.h"

namespace mora {

ChatTemplate template_of(const std::string& model, const std::string& adapter) {
  const std::optional<ChatTemplate> chat_template = chat_template_of(model, adapter);
  require<ConfigError>(chat_template.has_value(), "{}: has no chat template; use mora generate --prompt", model);
  return *chat_template;
}

void add_options(CLI::App& command, GenerationOptions& options) {
  SamplingOptions& sampling = options.sampling;
  command.add_option("--max-tokens", options.max_tokens, "the most tokens to generate (default: 256)")->type_name("N");
  command.add_option("--temperature", sampling.temperature, "0 takes the likeliest token each time (default: 0)")
      ->type_name("T");
  command.add_option("--top-k", sampling.top_k, "draw among the K likeliest (default: 0, all)")->type_name("K");
  command.add_option("--top-p", sampling.top_p, "draw among the fewest of probability P together (default: 1)")
      ->type_name("P");
  command
      .add_option("--repetition-penalty", sampling.repetition_penalty,
                  "above 1: tokens seen before become less likely (default: 1)")
      ->type_name("R");
  command.add_option("--seed", sampling.seed, "of the draws (default: 0)")->type_name("S");
}

}  // namespace mora
