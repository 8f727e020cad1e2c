// mora generate: text out of a language model, printed as it comes.
#include <nlohmann/json.hpp>

#include "loaders/model_text.h"
#include "mora/adapter_directory.h"
#include "mora/generation/generate.h"
#include "mora/models/registry.h"
#include "tools/command.h"

namespace mora {
namespace {

struct Arguments {
  std::string model, adapter, prompt, chat, precision = "f32";
  GenerationOptions options;
};

std::vector<int32_t> prompt_ids(const Arguments& a, const Tokenizer& tokenizer) {
  if (a.chat.empty()) return tokenizer.encode(a.prompt);
  // An adapter trained on chats comes with the template it was trained with.
  std::optional<ChatTemplate> chat_template;
  if (!a.adapter.empty()) chat_template = load_chat_template(a.adapter);
  if (!chat_template) chat_template = load_chat_template(a.model);
  require<ConfigError>(chat_template.has_value(), "--chat: {} has no chat template; use --prompt", a.model);
  return chat_prompt_ids(tokenizer, *chat_template, a.chat);
}

// What ends the text: the end tokens of the model and of its tokenizer.
std::vector<int32_t> stop_tokens(const Model& model, const Tokenizer& tokenizer) {
  std::vector<int32_t> ids;
  for (int64_t id : model.config().eos_token_ids) ids.push_back(int32_t(id));
  if (const auto eos = tokenizer.eos_id()) ids.push_back(*eos);
  return ids;
}

double per_second(int64_t tokens, double seconds) { return tokens > 0 ? double(tokens) / seconds : 0; }

void run(Arguments a, Session& session) {
  const Tokenizer tokenizer = load_tokenizer(a.model);
  MoRAModel model(load_model(a.model, a.precision == "bf16" ? DType::bf16 : DType::f32));
  if (!a.adapter.empty()) load_adapter(a.adapter, model);
  const std::vector<int32_t> prompt = prompt_ids(a, tokenizer);
  require<ConfigError>(!prompt.empty(), "the prompt has no tokens to begin with");
  a.options.stop_tokens = stop_tokens(model.base(), tokenizer);

  std::string text;
  DecodeStream stream(tokenizer);
  auto show = [&](const std::string& piece) {
    text += piece;
    std::fwrite(piece.data(), 1, piece.size(), stdout);
    std::fflush(stdout);
  };
  const GenerationResult result =
      generate(model.base(), {prompt}, a.options, [&](size_t, int32_t id) { show(stream.push(id)); });
  show(stream.finish());
  std::fputc('\n', stdout);

  const double prefill = per_second(result.prefill_tokens, result.prefill_seconds);
  const double decode = per_second(result.decode_tokens, result.decode_seconds);
  session.note(fmt::format("{} prompt tokens at {:.0f} a second, {} tokens at {:.1f} a second", prompt.size(), prefill,
                           result.ids[0].size(), decode));
  session.print_result({{"text", text},
                        {"ids", result.ids[0]},
                        {"prompt_tokens", prompt.size()},
                        {"tokens", result.ids[0].size()},
                        {"prefill_tokens_per_second", prefill},
                        {"decode_tokens_per_second", decode}});
}

}  // namespace

void add_generate(CLI::App& program, Session& session) {
  auto a = std::make_shared<Arguments>();
  CLI::App* command = add_command(program, session, "generate", "continue a prompt, or answer a chat message",
                                  [a, &session] { run(*a, session); });
  command->add_option("--model", a->model, "a Hugging Face directory or a .gguf file")->required()->type_name("MODEL");
  command->add_option("--adapter", a->adapter, "an adapter directory")->type_name("DIR");
  CLI::Option_group* input = command->add_option_group("input", "one of these");
  input->add_option("--prompt", a->prompt, "text to continue")->type_name("TEXT");
  input->add_option("--chat", a->chat, "a user's message to answer, by the model's chat template")->type_name("TEXT");
  input->require_option(1);
  SamplingOptions& sampling = a->options.sampling;
  command->add_option("--max-tokens", a->options.max_tokens, "the most tokens to generate (default: 256)")
      ->type_name("N");
  command->add_option("--temperature", sampling.temperature, "0 takes the likeliest token each time (default: 0)")
      ->type_name("T");
  command->add_option("--top-k", sampling.top_k, "draw among the K likeliest (default: 0, all)")->type_name("K");
  command->add_option("--top-p", sampling.top_p, "draw among the fewest of probability P together (default: 1)")
      ->type_name("P");
  command
      ->add_option("--repetition-penalty", sampling.repetition_penalty,
                   "above 1: tokens seen before become less likely (default: 1)")
      ->type_name("R");
  command->add_option("--seed", sampling.seed, "of the draws (default: 0)")->type_name("S");
  command->add_option("--precision", a->precision, "of the arithmetic: f32 or bf16 (default: f32)")
      ->check(CLI::IsMember({"f32", "bf16"}))
      ->type_name("TYPE");
}

}  // namespace mora
