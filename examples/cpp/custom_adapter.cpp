// An adapter of one's own: VeRA, ΔW = diag(b)·B·diag(d)·A with A and B random and frozen, the vectors b and d trained.
// Kopiczko et al. 2024, "VeRA: Vector-based Random Matrix Adaptation"
//
// usage: custom_adapter MODEL        (a BERT directory, as .cache/models/minilm)
#include <fmt/format.h>

#include "autograd/grad.h"
#include "autograd/ops/arithmetic.h"
#include "autograd/ops/elementary.h"
#include "autograd/ops/matmul.h"
#include "autograd/ops/reduce.h"
#include "autograd/ops/shape.h"
#include "loaders/model_text.h"
#include "mora/models/registry.h"
#include "mora/mora_model.h"
#include "optim/adamw.h"

namespace {

using namespace mora;

class Vera final : public MoRALayer {
 public:
  Vera(int64_t in, int64_t out, int64_t rank, uint64_t seed)
      : a_(uniform({rank, in}, {.seed = seed, .layer = 0, .purpose = Purpose::init})),
        b_(uniform({out, rank}, {.seed = seed, .layer = 1, .purpose = Purpose::init})),
        scale_d_(leaf(Tensor::from(std::vector<float>(size_t(rank), 0.1F), {rank}))),
        scale_b_(leaf(Tensor::zeros({out}))) {  // so that a fresh layer changes nothing
    spec_.rank = rank;
  }

  Tensor update(const Tensor& x, Context&) const override {  // (N, in) → (N, out)
    return matmul(matmul(x, a_, false, true) * scale_d_, b_, false, true) * scale_b_;
  }
  void visit_parameters(ParameterVisitor visit) override {
    visit("vera_d", scale_d_);
    visit("vera_b", scale_b_);
  }
  LowRank as_low_rank() const override {  // A' = diag(d)·A, B' = diag(b)·B
    const NoGrad no_grad;
    return {a_ * reshape(scale_d_, {-1, 1}), b_ * reshape(scale_b_, {-1, 1}), 1};
  }
  Tensor merged() const override {
    const LowRank product = as_low_rank();
    return matmul(cast(product.b, DType::f64), cast(product.a, DType::f64));
  }
  int64_t rank() const override { return a_.dim(0); }
  const AdapterSpec& spec() const override { return spec_; }

 private:
  static Tensor uniform(const Shape& shape, const RandomKey& key) {
    const RandomStream stream(key);
    std::vector<float> values(size_t(shape.numel()));
    for (size_t i = 0; i < values.size(); ++i) values[i] = 2 * stream.uniform(i) - 1;
    return Tensor::from(values, shape);
  }

  AdapterSpec spec_;
  Tensor a_, b_, scale_d_, scale_b_;
};

// Pulls the embeddings of two opposite sentences apart.
void separate(const std::string& path) {
  MoRAModel model(load_model(path));
  std::vector<std::string> modules;
  model.base().visit_linears([&](const std::string& module, LinearSlot&) { modules.push_back(module); });
  for (size_t i = 0; i < modules.size(); ++i) {
    const Linear& linear = **model.find(modules[i])->slot;
    model.attach(modules[i], std::make_unique<Vera>(linear.in(), linear.out(), 64, i));
  }

  std::vector<Parameter> parameters;
  model.visit_parameters([&](const std::string& name, Tensor& value) { parameters.push_back({name, value}); });
  AdamW optimizer(parameters, {});
  fmt::print("{} modules, {} trained numbers\n", modules.size(), model.trainable_parameters());

  const Tokenizer tokenizer = load_tokenizer(path);
  const Example good{.ids = tokenizer.encode("a wonderful film")}, bad{.ids = tokenizer.encode("a dreadful film")};
  const Sequences sequences = to_sequences(pack(std::array{&good, &bad}, std::array<int64_t, 2>{0, 1}));

  double first = 0, last = 0;
  for (int step = 0; step < 20; ++step) {
    Context context{.training = true};
    const Tensor embeddings = model.base().pooled(sequences, Pooling::mean, context);  // (2, d)
    const Tensor loss = -mean(square(slice(embeddings, 0, 0, 1) - slice(embeddings, 0, 1, 1)));
    last = -loss.item();
    if (step == 0) first = last;
    Tensors leaves;
    for (const Parameter& p : optimizer.parameters()) leaves.push_back(p.value);
    optimizer.step(grad(loss, leaves), 3e-3);
  }
  fmt::print("distance of the two sentences: {:.4f} at first, {:.4f} after 20 steps\n", first, last);
  require<Error>(last > 2 * first, "the adapter did not learn");
}

}  // namespace

int main(int argc, char** argv) try {
  require<Error>(argc == 2, "usage: custom_adapter MODEL");
  separate(argv[1]);
} catch (const std::exception& error) {
  fmt::print(stderr, "error: {}\n", error.what());
  return 1;
}
