#include "mora/training/inference.h"

#include "mora/model_head.h"
#include "mora/models/registry.h"

namespace mora {

InferenceModel open_for_inference(const std::filesystem::path& path, const std::filesystem::path& adapter) {
  InferenceModel opened{std::make_unique<MoRAModel>(load_model(path)), {}};
  if (!adapter.empty()) opened.info = load_adapter(adapter, *opened.model);
  if (!opened.model->classifier()) {
    if (auto head = read_model_head(path, opened.model->base()))
      opened.model->set_head(head->pooling, std::move(head->classifier));
  }
  if (opened.info.labels.empty()) opened.info.labels = opened.model->base().config().labels;
  return opened;
}

}  // namespace mora
