// mora bench: the benchmarks of bench/, all of them or one by name.
#include "bench/bench.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "engine/cuda.h"
#include "loaders/nearest.h"
#include "tools/command.h"

namespace mora {
namespace {

using bench::Row;
using bench::Subject;

struct Arguments {
  std::string subject;
  bench::Inputs inputs;
};

// All that run on the device, or the one that is named.
std::vector<Subject> chosen(const std::string& name, Device device) {
  const auto all = bench::subjects();
  const auto runs = [&](const Subject& s) { return device == cpu ? s.on_processor : s.on_card; };
  std::vector<std::string> known;
  if (name.empty()) {
    std::vector<Subject> result;
    std::ranges::copy_if(all, std::back_inserter(result), runs);
    return result;
  }
  for (const Subject& s : all) {
    if (s.name == name && device == cpu)
      require<ConfigError>(s.on_processor, "bench: {} is for a card: add --device cuda", name);
    else if (s.name == name)
      require<ConfigError>(s.on_card, "bench: {} is for the processor: leave --device out", name);
    if (s.name == name) return {s};
    known.emplace_back(s.name);
  }
  const std::string nearest = nearest_name(name, known);
  fail<ConfigError>("bench: no subject '{}'{} (subjects: {})", name,
                    nearest.empty() ? "" : fmt::format("; did you mean '{}'?", nearest), fmt::join(known, ", "));
}

// The option that a subject still needs; empty: none.
std::string missing(const Subject& s, const bench::Inputs& inputs) {
  if (s.needs_model && inputs.model.empty()) return "--model";
  if (s.needs_text && inputs.text.empty()) return "--text";
  return "";
}

void print(const Row& row) {
  const bool micro = row.seconds < 1e-3;
  fmt::print("  {:58} {:10.3f} {}", row.name, row.seconds * (micro ? 1e6 : 1e3), micro ? "us" : "ms");
  if (row.rate > 0) fmt::print(" {:9.1f} {}", row.rate, row.unit);
  if (row.limit > 0) fmt::print(", {:.0f} % of {:.1f}", 100 * row.rate / row.limit, row.limit);
  fmt::print("\n");
  std::fflush(stdout);
}

nlohmann::ordered_json to_json(const Subject& s, const Row& row) {
  nlohmann::ordered_json json{{"subject", s.name}, {"name", row.name}, {"seconds", row.seconds}};
  if (row.rate > 0) json.update({{"rate", row.rate}, {"unit", row.unit}});
  if (row.limit > 0) json.update({{"limit", row.limit}, {"of_limit", row.rate / row.limit}});
  return json;
}

void run(Arguments& a, const Session& session) {
  auto rows = nlohmann::ordered_json::array();
  a.inputs.device = session.device;
  const std::string name = session.device == cpu ? "" : cuda::describe(session.device.index).name;
  if (!name.empty()) fmt::print("{}\n", name);
  for (const Subject& s : chosen(a.subject, session.device)) {
    if (const std::string option = missing(s, a.inputs); !option.empty()) {
      require<ConfigError>(a.subject.empty(), "bench: {} needs {}", s.name, option);
      session.note(fmt::format("{}: left out, it needs {}", s.name, option));
      continue;
    }
    fmt::print("{}: {}\n", s.name, s.summary);
    s.run(a.inputs, [&](const Row& row) {
      print(row);
      rows.push_back(to_json(s, row));
    });
  }
  nlohmann::ordered_json result{{"threads", threads()}};
  if (!name.empty()) result["card"] = name;
  result["rows"] = std::move(rows);
  session.print_result(result);
}

}  // namespace

void add_bench(CLI::App& program, Session& session) {
  auto a = std::make_shared<Arguments>();
  CLI::App* command = add_command(
      program, session, "bench", "time the kernels against this machine's, or its card's, measured limits",
      [a, &session] { run(*a, session); }, Devices::all);
  std::vector<std::string_view> names;
  for (const Subject& s : bench::subjects()) names.push_back(s.name);
  command->add_option("subject", a->subject, fmt::format("one of {} (default: all)", fmt::join(names, ", ")))
      ->type_name("NAME");
  command->add_option("--model", a->inputs.model, "for decode and tokenizer: a Hugging Face directory or a .gguf file")
      ->type_name("MODEL");
  command->add_option("--text", a->inputs.text, "for tokenizer: a text file")->type_name("FILE");
}

}  // namespace mora
