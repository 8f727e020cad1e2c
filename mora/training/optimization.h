// From a configuration to an optimizer.
#pragma once

#include "mora/mora_model.h"
#include "mora/training/config.h"
#include "optim/mora_optimizer.h"

namespace mora {

// What the model trains, in its order, with the learning rates and decays of its groups: the head's and embeddings'
// own, LoRA+'s of B, and no decay, trust ratio or scale for biases and other vectors.
std::vector<Parameter> parameters_of(MoRAModel& model, const OptimizerConfig& config);
MoRAOptimizerOptions optimizer_options(const Config& config);

}  // namespace mora
