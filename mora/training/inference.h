// A trained model as the commands open it: base, adapter, head.
#pragma once

#include "mora/adapter_directory.h"

namespace mora {

struct InferenceModel {
  std::unique_ptr<MoRAModel> model;
  AdapterInfo info;
};

// Opens a model directory, with an adapter where `adapter` is not empty. The head and the labels come from the adapter,
// else from the model (its id2label).
InferenceModel open_for_inference(const std::filesystem::path& model, const std::filesystem::path& adapter);

}  // namespace mora
