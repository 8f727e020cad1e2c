// Adapters of one model added by weight: ΔW = Σ wᵢ·ΔWᵢ, an adapter as any other.
#pragma once

#include <filesystem>
#include <span>

#include "mora/adapter_directory.h"

namespace mora {

struct WeightedAdapter {
  std::filesystem::path directory;  // native or PEFT
  double weight = 1;
};

// Puts the sum on `model`, which has no adapters, exactly. Where a linear's updates are all MoRA, M = Σ wᵢ·Mᵢ where
// they have one operator, and other operators are kept beside it in the history; else they are set side by side as one
// LoRA, of rank Σrᵢ. A linear that an adapter leaves alone gets nothing from it. Classifiers, which are no updates,
// become their mean by weight. Throws ConfigError for adapters of other models, tasks or labels, and for updates that
// are no product (DoRA, experts, a rotation beside a LoRA); IoError for files.
AdapterInfo combine_adapters(MoRAModel& model, std::span<const WeightedAdapter> adapters);

}  // namespace mora
