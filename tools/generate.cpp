// mora generate: text out of a language model, printed as it comes.
#include <nlohmann/json.hpp>

#include "mora/adapter_directory.h"
#include "mora/models/registry.h"
#include "tools/language_model.h"

namespace mora {
namespace {

struct Arguments {
  std::string model, adapter, precision = "f32";
  std::vector<std::string> prompts, chats;  // one of the two
  GenerationOptions options;
};

// The tokens of each prompt, or of each chat up to where the answer begins.
std::vector<std::vector<int32_t>> prompt_ids(const Arguments& a, const Tokenizer& tokenizer) {
  std::vector<std::vector<int32_t>> prompts;
  for (const std::string& prompt : a.prompts) prompts.push_back(tokenizer.encode(prompt));
  if (!a.chats.empty()) {
    const ChatTemplate chat_template = template_of(a.model, a.adapter);
    for (const std::string& chat : a.chats) {
      const ChatTurn turn = {"user", chat};
      prompts.push_back(chat_prompt_ids(tokenizer, chat_template, {&turn, 1}));
    }
  }
  for (size_t i = 0; i < prompts.size(); ++i)
    require<ConfigError>(!prompts[i].empty(), "--prompt: prompt {} has no tokens to begin with", i + 1);
  return prompts;
}

double per_second(int64_t tokens, double seconds) { return tokens > 0 ? double(tokens) / seconds : 0; }

// Turns tokens into text; the first prompt's is printed as it comes, the others' behind it when all is there.
class Printer {
 public:
  Printer(const Tokenizer& tokenizer, size_t prompts) : streams_(prompts, DecodeStream(tokenizer)), texts_(prompts) {}

  void add(size_t prompt, int32_t id) { add(prompt, streams_[prompt].push(id)); }

  std::vector<std::string> finish() {
    for (size_t i = 0; i < texts_.size(); ++i) {
      add(i, streams_[i].finish());
      if (i > 0) print("\n" + texts_[i]);
      print("\n");
    }
    return texts_;
  }

 private:
  void add(size_t prompt, const std::string& piece) {
    texts_[prompt] += piece;
    if (prompt == 0) print(piece);
  }
  static void print(const std::string& text) {
    std::fwrite(text.data(), 1, text.size(), stdout);
    std::fflush(stdout);
  }

  std::vector<DecodeStream> streams_;
  std::vector<std::string> texts_;
};

// {"text": …, "ids": …} of one prompt, {"results": [{…}, …]} of several; then counts and speeds over all of them.
nlohmann::ordered_json to_json(const std::vector<std::vector<int32_t>>& prompts, const std::vector<std::string>& texts,
                               const GenerationResult& result) {
  nlohmann::ordered_json each = nlohmann::ordered_json::array(), json;
  size_t tokens = 0;
  for (size_t i = 0; i < prompts.size(); ++i) {
    tokens += result.ids[i].size();
    each.push_back({{"text", texts[i]},
                    {"ids", result.ids[i]},
                    {"prompt_tokens", prompts[i].size()},
                    {"tokens", result.ids[i].size()}});
  }
  if (prompts.size() == 1)
    json = each[0];
  else
    json = {{"results", each}, {"prompt_tokens", result.prefill_tokens}, {"tokens", tokens}};
  json["prefill_tokens_per_second"] = per_second(result.prefill_tokens, result.prefill_seconds);
  json["decode_tokens_per_second"] = per_second(result.decode_tokens, result.decode_seconds);
  return json;
}

void run(Arguments a, Session& session) {
  a.options.sampling.check();
  const Tokenizer tokenizer = load_tokenizer(a.model);
  const std::vector<std::vector<int32_t>> prompts = prompt_ids(a, tokenizer);
  MoRAModel model(load_model(a.model, a.precision == "bf16" ? DType::bf16 : DType::f32));
  if (!a.adapter.empty()) load_adapter(a.adapter, model);
  model.to(session.device);
  a.options.stop_tokens = stop_tokens(model.base(), tokenizer);

  Printer printer(tokenizer, prompts.size());
  const GenerationResult result =
      generate(model.base(), prompts, a.options, [&](size_t prompt, int32_t id) { printer.add(prompt, id); });
  const nlohmann::ordered_json json = to_json(prompts, printer.finish(), result);
  session.note(fmt::format("{} prompt tokens at {:.0f} a second, {} tokens at {:.1f} a second",
                           json["prompt_tokens"].get<int64_t>(), json["prefill_tokens_per_second"].get<double>(),
                           json["tokens"].get<int64_t>(), json["decode_tokens_per_second"].get<double>()));
  session.print_result(json);
}

}  // namespace

void add_generate(CLI::App& program, Session& session) {
  auto a = std::make_shared<Arguments>();
  CLI::App* command = add_command(
      program, session, "generate", "continue a prompt, or answer a chat message", [a, &session] { run(*a, session); },
      Devices::all);
  command->add_option("--model", a->model, "a Hugging Face directory or a .gguf file")->required()->type_name("MODEL");
  command->add_option("--adapter", a->adapter, "an adapter directory")->type_name("DIR");
  CLI::Option_group* input = command->add_option_group("input", "one of these");
  input->add_option("--prompt", a->prompts, "text to continue; given again: texts that are continued together")
      ->allow_extra_args(false)
      ->type_name("TEXT");
  input->add_option("--chat", a->chats, "a user's message to answer, by the model's chat template; may be given again")
      ->allow_extra_args(false)
      ->type_name("TEXT");
  input->require_option(1);
  add_options(*command, a->options);
  command->add_option("--precision", a->precision, "of the arithmetic: f32 or bf16 (default: f32)")
      ->check(CLI::IsMember({"f32", "bf16"}))
      ->type_name("TYPE");
}

}  // namespace mora
