// A small golden model with an adapter that does something.
#pragma once

#include <cmath>
#include <filesystem>

#include "mora/models/registry.h"
#include "mora/peft_directory.h"

namespace mora::test {

inline const std::filesystem::path golden_models = std::filesystem::path(MORA_SOURCE_DIR) / "tests/goldens/models";

// Each trained tensor, normal with deviation 0.1.
inline void randomize(MoRAModel& model) {
  uint64_t layer = 0;
  model.visit_parameters([&](const std::string&, Tensor& value) {
    const RandomStream stream({.seed = 3, .layer = ++layer});
    float* values = value.mutable_data<float>();
    for (int64_t i = 0; i < value.numel(); ++i) values[i] = float(0.1 * stream.normal(uint64_t(i)));
  });
}

inline MoRAModel adapted_model(const std::filesystem::path& directory, const AdapterSpec& spec) {
  MoRAModel model(load_model(directory));
  model.add_adapters(spec, "all-linear", 1);
  randomize(model);
  return model;
}

inline std::filesystem::path saved(const std::filesystem::path& directory, MoRAModel& model, const AdapterInfo& info) {
  std::filesystem::create_directory(directory);
  save_adapter(directory, model, info);
  return directory;
}

}  // namespace mora::test
