// mora doctor: what this machine can run.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <nlohmann/json.hpp>

#include "tools/command.h"
#include "tools/machine.h"

namespace mora {
namespace {

void doctor(const Session& session) {
  const nlohmann::ordered_json machine = describe_machine();
  const auto& cpu = machine["cpu"];
  const auto text = [](const nlohmann::ordered_json& value) { return value.get<std::string>(); };
  const auto gib = [&](const char* key) { return cpu[key].get<double>() / (1 << 30); };
  const auto features = cpu["features"].get<std::vector<std::string>>();

  fmt::print("mora       {}\n", text(machine["version"]));
  fmt::print("system     {}\n", text(machine["system"]));
  fmt::print("processor  {}\n", text(cpu["name"]).empty() ? "unknown" : text(cpu["name"]));
  fmt::print("features   {}\n", features.empty() ? "none that matter" : fmt::format("{}", fmt::join(features, " ")));
  fmt::print("threads    {} of {} processors\n", cpu["threads"].get<int64_t>(), cpu["processors"].get<int64_t>());
  fmt::print("memory     {:.1f} GiB, {:.1f} GiB available\n", gib("memory_bytes"), gib("available_bytes"));
  const auto& cuda = machine["cuda"];
  fmt::print("cuda       {}\n",
             cuda["available"].get<bool>()
                 ? fmt::format("{}, compute capability {}, {:.1f} GiB", text(cuda["name"]),
                               text(cuda["compute_capability"]), cuda["memory_bytes"].get<double>() / (1 << 30))
                 : text(cuda["reason"]));
  session.print_result(machine);
}

}  // namespace

void add_doctor(CLI::App& program, Session& session) {
  add_command(
      program, session, "doctor", "show what this machine can run: processor features, threads, memory, CUDA",
      [&session] { doctor(session); }, Devices::all);
}

}  // namespace mora
