#include "mora/export.h"

#include <cmath>

#include "autograd/ops/arithmetic.h"
#include "loaders/gguf_model.h"
#include "mora/adapters/embedding_lora.h"

namespace mora {
namespace {

// Whether f32 values times `factor` are f32 values again (short of under- and overflow).
bool is_power_of_two(double factor) {
  int exponent = 0;
  return std::frexp(factor, &exponent) == 0.5;
}

}  // namespace

bool save_gguf_lora(const std::filesystem::path& file, MoRAModel& model) {
  const NoGrad no_grad;
  std::vector<GgufLoraModule> modules;
  bool exact = true;
  double alpha = 0;
  for (const auto& [path, linear] : model.adapted()) {
    require<ConfigError>(!dynamic_cast<const EmbeddingLoRA*>(&linear->layer()),
                         "{}: an embedding: llama.cpp would take its adapter for the head's too; export to PEFT, or "
                         "merge",
                         path);
    const LowRank update = linear->layer().as_low_rank();
    const double own_alpha = update.scaling * double(update.a.dim(0));
    if (modules.empty()) alpha = own_alpha;
    const double factor = own_alpha / alpha;
    exact = exact && is_power_of_two(factor);
    modules.push_back({path, update.a, factor == 1 ? update.b : update.b * factor});
  }
  write_gguf_lora(file, modules, alpha, model.base().config());
  return exact;
}

}  // namespace mora
