// mora serve: an OpenAI-compatible server for programs on this machine.
#include <nlohmann/json.hpp>

#include "mora/serving/server.h"
#include "tools/command.h"

namespace mora {
namespace {

struct Arguments {
  ServedModelOptions model;
  std::vector<std::string> adapters;
  std::string precision = "f32";
  ServerOptions server;
  size_t body_megabytes = 4;
};

// NAME=DIR, or DIR, whose name is the directory's; "adapter" and "best", which each run has, take the run's along.
std::pair<std::string, std::string> named_adapter(const std::string& word) {
  const size_t sign = word.find('=');
  if (sign != std::string::npos && sign > 0) return {word.substr(0, sign), word.substr(sign + 1)};
  std::filesystem::path path = std::filesystem::absolute(word).lexically_normal();
  if (!path.has_filename()) path = path.parent_path();
  const std::string name = path.filename().string();
  if (name == "adapter") return {path.parent_path().filename().string(), word};
  return {name == "best" ? path.parent_path().filename().string() + "-best" : name, word};
}

void run(Arguments& a, Session& session) {
  for (const std::string& word : a.adapters) a.model.adapters.push_back(named_adapter(word));
  a.model.precision = a.precision == "bf16" ? DType::bf16 : DType::f32;
  a.model.device = session.device;
  a.server.http.body_bytes = a.body_megabytes << 20;
  a.server.log = [&session](const std::string& line) { session.note(line); };
  a.server.obey_signals = true;
  ServedModel served = load_served_model(a.model);
  const std::string names = fmt::format("{}", fmt::join(served.names, ", "));
  const double cache =
      double(served.cache_bytes_of_token()) * double(served.context) * double(a.server.scheduler.slots);
  if (served.is_language_model())
    session.note(fmt::format("{} texts at a time of up to {} tokens: their keys and values take at most {:.1f} GB",
                             a.server.scheduler.slots, served.context, cache / 1e9));
  Server server(std::move(served), a.server);
  fmt::print("http://127.0.0.1:{}/v1\n", server.port());
  std::fflush(stdout);
  session.note(fmt::format("serves {}; Ctrl-C ends it", names));
  const int signal = server.run();
  const Scheduler::Load load = server.load();
  session.print_result({{"prompt_tokens", load.prompt_tokens}, {"tokens", load.tokens}});
  session.exit_code = 128 + signal;
}

}  // namespace

void add_serve(CLI::App& program, Session& session) {
  auto a = std::make_shared<Arguments>();
  CLI::App* command = add_command(
      program, session, "serve", "answer programs on this machine through OpenAI's API, adapters by name",
      [a, &session] { run(*a, session); }, Devices::all);
  command->add_option("--model", a->model.model, "a Hugging Face directory or a .gguf file")
      ->required()
      ->type_name("MODEL");
  command->add_option("--name", a->model.name, "what requests call the model (default: its directory or file)")
      ->type_name("NAME");
  command
      ->add_option("--adapter", a->adapters,
                   "an adapter directory, and what requests call it (default: the run's name); may be given again")
      ->allow_extra_args(false)
      ->type_name("[NAME=]DIR");
  command->add_option("--port", a->server.port, "on 127.0.0.1; 0 takes a free one (default: 8000)")
      ->check(CLI::Range(0, 65535))
      ->type_name("N");
  command->add_option("--slots", a->server.scheduler.slots, "texts written at a time (default: 8)")
      ->check(CLI::Range(1, 1024))
      ->type_name("N");
  command
      ->add_option("--queue", a->server.scheduler.queue,
                   "requests that wait for a slot; more are refused (default: 64)")
      ->check(CLI::Range(1, 100000))
      ->type_name("N");
  command
      ->add_option("--context", a->model.context,
                   "the most tokens of a text, prompt and answer (default: the model's, at most 4096)")
      ->check(CLI::Range(2, 1 << 24))
      ->type_name("N");
  command->add_option("--max-body", a->body_megabytes, "the largest request, in MiB (default: 4)")
      ->check(CLI::Range(1, 1024))
      ->type_name("N");
  command->add_option("--precision", a->precision, "of the arithmetic: f32 or bf16 (default: f32)")
      ->check(CLI::IsMember({"f32", "bf16"}))
      ->type_name("TYPE");
}

}  // namespace mora
