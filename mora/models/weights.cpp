#include "mora/models/weights.h"

namespace mora {

// Norm weights are small: they are held in f32, whatever the file has.
LayerNormWeights::LayerNormWeights(const WeightReader& read, const std::string& name, int64_t d, double epsilon)
    : weight(cast(read.tensor(name + ".weight", {d}), DType::f32)),
      bias(cast(read.tensor(name + ".bias", {d}), DType::f32)),
      eps(epsilon) {}

RmsNormWeights::RmsNormWeights(const WeightReader& read, const std::string& name, int64_t d, double epsilon)
    : weight(cast(read.tensor(name + ".weight", {d}), DType::f32)), eps(epsilon) {}

}  // namespace mora
