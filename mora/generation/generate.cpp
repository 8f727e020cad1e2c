#include "mora/generation/generate.h"

#include <chrono>

namespace mora {
namespace {

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

}  // namespace

GenerationResult generate(const Model& model, const std::vector<std::vector<int32_t>>& prompts,
                          const GenerationOptions& options, TokenCallback on_token) {
  DecodeBatch batch(model);
  GenerationResult result;
  result.ids.resize(prompts.size());
  for (size_t i = 0; i < prompts.size(); ++i) {
    batch.add({.prompt = prompts[i], .options = options, .draw = i});  // sequence i
    result.prefill_tokens += int64_t(prompts[i].size());
  }
  const auto hear = [&](const DecodedToken& token) {
    if (token.error) std::rethrow_exception(token.error);
    result.ids[token.sequence].push_back(token.id);
    on_token(size_t(token.sequence), token.id);
    return true;
  };
  auto start = std::chrono::steady_clock::now();
  batch.step(hear);
  result.prefill_seconds = seconds_since(start);
  start = std::chrono::steady_clock::now();
  while (batch.size() > 0) {
    result.decode_tokens += int64_t(batch.size());
    batch.step(hear);
  }
  result.decode_seconds = seconds_since(start);
  return result;
}

}  // namespace mora
