#include "mora/export.h"

#include <cmath>

#include "autograd/ops/arithmetic.h"
#include "loaders/gguf_model.h"
#include "mora/adapters/lora.h"
#include "mora/adapters/mora.h"

namespace mora {
namespace {

// ΔW = s·B·A
struct LowRankUpdate {
  std::string module;
  Tensor a, b;  // f32 (r, in), (out, r)
  double scaling = 1;

  double alpha() const { return scaling * double(a.dim(0)); }
};

LowRankUpdate low_rank_update(const std::string& module, MoRALayer& layer) {
  LowRankUpdate update{.module = module, .a = {}, .b = {}};
  if (auto* lora = dynamic_cast<LoRA*>(&layer)) {
    lora->visit_parameters(
        [&](const std::string& name, Tensor& t) { (name == "lora_A" ? update.a : update.b) = t.detach(); });
    update.scaling = lora->scaling();
  } else {
    const auto* mora = dynamic_cast<const MoRA*>(&layer);
    require<ConfigError>(mora != nullptr, "module '{}': its adapter is no LoRA, which is all that GGUF holds; merge it",
                         module);
    const auto [a, b] = mora->as_low_rank();
    update.a = a;
    update.b = b;
  }
  return update;
}

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
    const LowRankUpdate update = low_rank_update(path, linear->layer());
    if (modules.empty()) alpha = update.alpha();
    const double factor = update.alpha() / alpha;
    exact = exact && is_power_of_two(factor);
    modules.push_back({path, update.a, factor == 1 ? update.b : update.b * factor});
  }
  write_gguf_lora(file, modules, alpha, model.base().config());
  return exact;
}

}  // namespace mora
