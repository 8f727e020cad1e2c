// Several adapters on one frozen model, chosen by row: sequences of different adapters share a batch, and the frozen
// products are computed once for all of them.   Sheng et al. 2023, "S-LoRA: Serving Thousands of Concurrent LoRA
// Adapters"
#pragma once

#include <filesystem>
#include <vector>

#include "mora/mora_model.h"

namespace mora {

// A forward pass says by Context::adapter_rows which rows go by which adapter; without gradients where there are
// several.
class MultiAdapterModel {
 public:
  // `device`: where the model and its adapters compute.
  explicit MultiAdapterModel(std::unique_ptr<Model> base, Device device = cpu) : model_(std::move(base)) {
    model_.to(device);
  }

  // Adds the adapter of a native or PEFT directory. Its number: 1, 2, … Throws as load_adapter.
  size_t load(const std::filesystem::path& directory);

  const Model& base() const { return model_.base(); }
  // How the adapter's classifier pools; nothing where it has none.
  const std::optional<Pooling>& pooling(size_t adapter) const { return pooling_.at(adapter); }

 private:
  MoRAModel model_;  // its adapters are off: its linears choose among those that were loaded
  std::vector<std::optional<Pooling>> pooling_{std::nullopt};  // by adapter
};

}  // namespace mora
