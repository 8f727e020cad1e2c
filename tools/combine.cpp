// mora combine: adapters of one model added by weight.
#include "mora/combine.h"

#include <charconv>
#include <cmath>
#include <nlohmann/json.hpp>

#include "mora/models/registry.h"
#include "tools/command.h"

namespace mora {
namespace {

struct Arguments {
  std::string model, out;
  std::vector<std::string> adapters;
};

// DIR, or DIR=WEIGHT.
WeightedAdapter parse(const std::string& word) {
  const size_t at = word.rfind('=');
  if (at == std::string::npos) return {.directory = word};
  WeightedAdapter adapter{.directory = word.substr(0, at)};
  const char* end = word.data() + word.size();
  const auto [stop, error] = std::from_chars(word.data() + at + 1, end, adapter.weight);
  require<ConfigError>(error == std::errc{} && stop == end && std::isfinite(adapter.weight),
                       "--adapter {}: expected DIR=WEIGHT, the weight a number such as 0.5", word);
  return adapter;
}

void run(const Arguments& a, Session& session) {
  require<ConfigError>(!std::filesystem::exists(a.out), "{}: exists already; remove it or choose another name", a.out);
  std::vector<WeightedAdapter> adapters;
  for (const std::string& word : a.adapters) adapters.push_back(parse(word));
  MoRAModel model(load_model(a.model));
  AdapterInfo info = combine_adapters(model, adapters);
  info.base_model = a.model;
  replace_adapter(a.out, model, info);
  int64_t rank = 0;
  for (const auto& [path, linear] : model.adapted()) rank = std::max(rank, linear->layer().rank());
  session.note(fmt::format("{}: the sum of {} adapters on {} modules", a.out, adapters.size(), model.adapted().size()));
  session.print_result(
      {{"out", a.out}, {"adapters", adapters.size()}, {"modules", model.adapted().size()}, {"largest_rank", rank}});
}

}  // namespace

void add_combine(CLI::App& program, Session& session) {
  auto a = std::make_shared<Arguments>();
  CLI::App* command = add_command(program, session, "combine", "add adapters of one model, each by its weight",
                                  [a, &session] { run(*a, session); });
  command->add_option("--model", a->model, "the model they belong to")->required()->type_name("MODEL");
  command->add_option("--adapter", a->adapters, "an adapter directory and its weight (default: 1); once for each")
      ->required()
      ->allow_extra_args(false)
      ->type_name("DIR[=WEIGHT]");
  command->add_option("--out", a->out, "the adapter directory to make")->required()->type_name("DIR");
}

}  // namespace mora
