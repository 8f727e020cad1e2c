// Training, without the trainer: a MoRA on every linear of a BERT and a classifier on top, on rows of a table.
//
// usage: train MODEL DATA.tsv [UPDATES]        (columns text and label)
#include <fmt/format.h>

#include "autograd/grad.h"
#include "autograd/ops/arithmetic.h"
#include "mora/models/registry.h"
#include "mora/training/objective.h"
#include "mora/training/task_data.h"
#include "optim/adamw.h"
#include "optim/clip.h"

namespace {

using namespace mora;

void train(const std::string& path, const std::string& file, int64_t updates) {
  const TaskData data({.files = {file}, .columns = {}}, path);
  MoRAModel model(load_model(path));
  model.add_adapters({.kind = AdapterSpec::Kind::mora, .rank = 8}, Targets("all-linear"), /*seed=*/0);
  model.set_head(Pooling::mean,
                 Classifier::fresh(int64_t(data.labels().size()), model.base().config().hidden_size, /*seed=*/0));
  fmt::print("{} rows, {} classes, {} trained numbers\n", data.size(), data.labels().size(),
             model.trainable_parameters());

  std::vector<Parameter> parameters;
  model.visit_parameters([&](const std::string& name, Tensor& value) { parameters.push_back({name, value}); });
  AdamW optimizer(parameters, {.weight_decay = 0.01});
  const Objective objective{.task = Task::classification};
  const EpochPlan plan = plan_epoch(data.lengths(), {.batch_size = 32}, /*epoch=*/0);

  double smoothed = 0;
  for (int64_t step = 0; step < updates; ++step) {
    const PackedBatch batch = data.batch(plan.batch(step % plan.size()));
    Context context{.training = true, .step = uint64_t(step)};
    const Tensor loss = objective.total(model, batch, context) / objective.weight(batch);

    Tensors leaves;
    for (const Parameter& p : optimizer.parameters()) leaves.push_back(p.value);
    Tensors gradients = grad(loss, leaves);
    clip_grad_norm(gradients, 1.0);
    optimizer.step(gradients, 1e-3 * (1 - double(step) / double(updates)));  // falls to nothing

    smoothed = step == 0 ? loss.item() : 0.9 * smoothed + 0.1 * loss.item();
    if ((step + 1) % 10 == 0) fmt::print("update {:4}  {:5} tokens  loss {:.4f}\n", step + 1, batch.tokens(), smoothed);
  }
  require<Error>(updates < 20 || smoothed < 0.69, "nothing was learned: the loss is {:.3f}", smoothed);
}

}  // namespace

int main(int argc, char** argv) try {
  require<Error>(argc == 3 || argc == 4, "usage: train MODEL DATA.tsv [UPDATES]");
  train(argv[1], argv[2], argc == 4 ? std::stoll(argv[3]) : 300);
} catch (const std::exception& error) {
  fmt::print(stderr, "error: {}\n", error.what());
  return 1;
}
