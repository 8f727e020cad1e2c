// mora chat: a conversation in the terminal. Answers come as they are made; the adapter goes on and off to compare.
//
// On a terminal there are prompts and colour (not with NO_COLOR); otherwise a line of stdin is a message and stdout has
// the answers alone.
#include <unistd.h>

#include <cstdlib>
#include <iostream>
#include <nlohmann/json.hpp>

#include "engine/error.h"
#include "mora/adapter_directory.h"
#include "mora/models/registry.h"
#include "tools/language_model.h"

namespace mora {
namespace {

constexpr const char* kHelp =
    "/adapter  the adapter off, and on again     /again  answer the last message anew\n"
    "/clear    forget the conversation           /exit   leave (or Ctrl-D)";

struct Arguments {
  std::string model, adapter, system;
  GenerationOptions options;
};

class Chat {
 public:
  Chat(const Arguments& a, Device device)
      : a_(a),
        tokenizer_(load_tokenizer(a.model)),
        template_(template_of(a.model, a.adapter)),
        model_(load_model(a.model)),
        options_(a.options),
        terminal_(isatty(STDIN_FILENO) == 1 && isatty(STDOUT_FILENO) == 1),
        colour_(terminal_ && !std::getenv("NO_COLOR")) {
    model_.to(device);
    options_.stop_tokens = stop_tokens(model_.base(), tokenizer_);
    if (!a.adapter.empty()) switch_adapter();
    clear();
  }

  // Until /exit or the end of the input.
  void run() {
    if (terminal_) fmt::print("{}\n\n", kHelp);
    for (std::string line; prompt(), std::getline(std::cin, line);) {
      if (line == "/exit") return;
      if (line.starts_with("/"))
        command(line);
      else if (!line.empty())
        ask(line);
    }
    if (terminal_) fmt::print("\n");
  }

  int64_t answers() const { return answers_; }
  int64_t tokens() const { return tokens_; }

 private:
  void prompt() const {
    if (!terminal_) return;
    const char* mark = a_.adapter.empty() ? "" : adapted_ ? "adapter " : "base ";
    fmt::print("{}{}›{} ", colour_ ? "\033[1;34m" : "", mark, colour_ ? "\033[0m" : "");
    std::fflush(stdout);
  }

  void command(const std::string& line) {
    if (line == "/clear") {
      clear();
    } else if (line == "/adapter") {
      if (a_.adapter.empty()) return say("no adapter was given (--adapter DIR)");
      switch_adapter();
      say(adapted_ ? "the adapter is on" : "the adapter is off");
    } else if (line == "/again") {
      if (turns_.empty() || turns_.back().role != "assistant") return say("nothing was answered yet");
      turns_.pop_back();
      ++options_.sampling.seed;
      answer();
    } else {
      say(line == "/help" ? kHelp : "unknown command " + line + "\n" + kHelp);
    }
  }

  static void say(const std::string& text) { fmt::print(stderr, "{}\n", text); }

  void clear() {
    turns_.clear();
    if (!a_.system.empty()) turns_.push_back({"system", a_.system});
  }

  void switch_adapter() {
    if (adapted_)
      model_.remove_adapters();
    else
      load_adapter(a_.adapter, model_);
    adapted_ = !adapted_;
  }

  void ask(const std::string& message) {
    turns_.push_back({"user", message});
    answer();
  }

  // The answer to the turns so far, printed as it is made, becomes a turn. A conversation that no longer fits the
  // model's positions says so and stays as it was.
  void answer() {
    DecodeStream stream(tokenizer_);
    std::string text;
    const auto print = [&](const std::string& piece) {
      text += piece;
      std::fwrite(piece.data(), 1, piece.size(), stdout);
      std::fflush(stdout);
    };
    try {
      const auto result = generate(model_.base(), {chat_prompt_ids(tokenizer_, template_, turns_)}, options_,
                                   [&](size_t, int32_t id) { print(stream.push(id)); });
      print(stream.finish());
      fmt::print("\n{}", terminal_ ? "\n" : "");
      std::fflush(stdout);
      tokens_ += std::ssize(result.ids[0]);
      ++answers_;
      turns_.push_back({"assistant", text});
    } catch (const ShapeError& error) {
      turns_.pop_back();
      say(fmt::format("{}; /clear forgets the conversation", error.what()));
    }
  }

  const Arguments& a_;
  Tokenizer tokenizer_;
  ChatTemplate template_;
  MoRAModel model_;
  GenerationOptions options_;
  bool terminal_, colour_, adapted_ = false;
  std::vector<ChatTurn> turns_;
  int64_t answers_ = 0, tokens_ = 0;
};

void run(const Arguments& a, const Session& session) {
  a.options.sampling.check();
  Chat chat(a, session.device);
  chat.run();
  session.print_result({{"answers", chat.answers()}, {"tokens", chat.tokens()}});
}

}  // namespace

void add_chat(CLI::App& program, Session& session) {
  auto a = std::make_shared<Arguments>();
  CLI::App* command = add_command(
      program, session, "chat", "talk to a language model, with its adapter on and off",
      [a, &session] { run(*a, session); }, Devices::all);
  command->add_option("--model", a->model, "a Hugging Face directory or a .gguf file")->required()->type_name("MODEL");
  command->add_option("--adapter", a->adapter, "an adapter directory; /adapter switches it")->type_name("DIR");
  command->add_option("--system", a->system, "a system message that opens the conversation")->type_name("TEXT");
  add_options(*command, a->options);
}

}  // namespace mora
