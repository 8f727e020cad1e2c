#include "tools/machine.h"

#include <fmt/format.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "engine/cuda.h"
#include "engine/parallel.h"
#include "kernels/cpu/bf16_tiles.h"
#include "mora/training/process_memory.h"

namespace mora {
namespace {

// The value of `key` in a /proc file of "key : value" lines; empty where there is none.
std::string proc_value(const char* file, std::string_view key) {
  std::ifstream lines(file);
  for (std::string line; std::getline(lines, line);) {
    const size_t colon = line.find(':');
    if (colon == std::string::npos || line.substr(0, line.find_last_not_of(" \t", colon - 1) + 1) != key) continue;
    const size_t begin = line.find_first_not_of(" \t", colon + 1);
    return begin == std::string::npos ? "" : line.substr(begin);
  }
  return "";
}

int64_t meminfo_bytes(std::string_view key) {
  const std::string value = proc_value("/proc/meminfo", key);
  return value.empty() ? 0 : std::stoll(value) * 1024;
}

// The instruction sets that MoRA or oneDNN choose between.
std::vector<std::string> processor_features() {
  std::vector<std::string> found;
#if defined(__x86_64__)
  const auto add = [&](const char* name, int supported) {
    if (supported != 0) found.emplace_back(name);
  };
  add("sse4.2", __builtin_cpu_supports("sse4.2"));
  add("avx", __builtin_cpu_supports("avx"));
  add("avx2", __builtin_cpu_supports("avx2"));
  add("fma", __builtin_cpu_supports("fma"));
  add("avx512f", __builtin_cpu_supports("avx512f"));
  add("avx512bw", __builtin_cpu_supports("avx512bw"));
  add("avx512vl", __builtin_cpu_supports("avx512vl"));
  add("avx512vnni", __builtin_cpu_supports("avx512vnni"));
  add("avx512bf16", __builtin_cpu_supports("avx512bf16"));
  add("amx-bf16", kernels::cpu::has_bf16_tiles());
#elif defined(__aarch64__)
  found.emplace_back("neon");
#endif
  return found;
}

nlohmann::ordered_json cuda_card() {
  const std::string reason = cuda::unavailable(0);
  nlohmann::ordered_json json = {{"available", reason.empty()}, {"reason", reason}};
  if (!reason.empty()) return json;
  const cuda::Card card = cuda::describe(0);
  json["name"] = card.name;
  json["compute_capability"] = fmt::format("{}.{}", card.compute_capability / 10, card.compute_capability % 10);
  json["memory_bytes"] = card.memory_bytes;
  json["available_bytes"] = card.free_bytes;
  return json;
}

}  // namespace

nlohmann::ordered_json describe_machine() {
  utsname system{};
  uname(&system);
  return {{"version", MORA_VERSION},
          {"system", fmt::format("{} {} {}", system.sysname, system.release, system.machine)},
          {"cpu",
           {{"name", proc_value("/proc/cpuinfo", "model name")},
            {"architecture", system.machine},
            {"processors", sysconf(_SC_NPROCESSORS_ONLN)},
            {"threads", threads()},
            {"features", processor_features()},
            {"memory_bytes", meminfo_bytes("MemTotal")},
            {"available_bytes", available_bytes()}}},
          {"cuda", cuda_card()}};
}

}  // namespace mora
