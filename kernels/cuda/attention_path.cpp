#include "kernels/cuda/attention_path.h"

#include <atomic>
#include <cstdlib>

#include "engine/error.h"

namespace mora::kernels::cuda {
namespace {

AttentionPath path_of_environment() {
  const char* const name = std::getenv("MORA_ATTENTION");
  return parse_attention_path(name ? name : "own");
}

std::atomic<AttentionPath>& path() {
  static std::atomic<AttentionPath> path = path_of_environment();
  return path;
}

}  // namespace

AttentionPath parse_attention_path(std::string_view name) {
  if (name == "own") return AttentionPath::own;
  if (name == "fastest") return AttentionPath::fastest;
  require<ConfigError>(name == "cudnn", "MORA_ATTENTION: '{}': expected own, fastest or cudnn", name);
  return AttentionPath::cudnn;
}

AttentionPath attention_path() { return path(); }
void set_attention_path(AttentionPath to) { path() = to; }

}  // namespace mora::kernels::cuda
