// Training steps of a Llama of 1.1 B parameters with random weights: LoRA of rank 16 on all linears, bf16, sequences of
// 2048 tokens, AdamW; the step is a CUDA graph, as in `mora train`. Tokens a second, as a share of what the products
// alone would take at the card's rate.
// bench/training_peer.py is the same with PyTorch and PEFT.
#include <cmath>
#include <map>

#include "autograd/grad.h"
#include "autograd/ops/arithmetic.h"
#include "bench/bench.h"
#include "bench/card.h"
#include "mora/models/llama.h"
#include "mora/training/objective.h"
#include "mora/training/optimization.h"
#include "mora/training/step_graphs.h"

namespace mora::bench {
namespace {

struct Sizes {
  int64_t layers, d, ffn, heads, kv_heads, vocabulary, length;
  int64_t head_dim() const { return d / heads; }
  int64_t kv() const { return kv_heads * head_dim(); }

  // Elements of the linears' weights, the head's included.
  double weights() const {
    return double(layers) * double(2 * d * d + 2 * d * kv() + 3 * d * ffn) + double(vocabulary * d);
  }
  double adapters(int64_t rank) const {
    return double(layers * rank) * double(2 * (d + d) + 2 * (d + kv()) + 3 * (d + ffn));
  }
  // Frozen weights multiply forward and for the gradient of x; adapters for their own too; of attention's products two
  // go forward and five backward, over half of the pairs.
  double flops_per_token(int64_t rank) const {
    const double pairs = double(length + 1) / 2;
    return 4 * weights() + 6 * adapters(rank) + 7 * 2 * pairs * double(d) * double(layers);
  }

  HfConfig config() const {
    HfConfig c;
    c.model_type = "llama";
    c.vocab_size = vocabulary;
    c.hidden_size = d;
    c.num_hidden_layers = layers;
    c.num_attention_heads = heads;
    c.num_key_value_heads = kv_heads;
    c.head_dim = head_dim();
    c.intermediate_size = ffn;
    c.max_position_embeddings = length;
    c.norm_eps = 1e-5;
    c.activation = HfActivation::silu;
    c.windows.assign(size_t(layers), 0);
    return c;
  }
};

// Normal numbers of deviation 0.02, and ones in norms: they depend on the name alone.
class RandomWeights final : public ModelWeights {
 public:
  explicit RandomWeights(const Sizes& s) {
    const int64_t d = s.d, kv = s.kv();
    shapes_ = {{"model.embed_tokens.weight", {s.vocabulary, d}},
               {"lm_head.weight", {s.vocabulary, d}},
               {"model.norm.weight", {d}}};
    for (int64_t i = 0; i < s.layers; ++i) {
      const auto add = [&](const char* name, const Shape& shape) {
        shapes_[fmt::format("model.layers.{}.{}.weight", i, name)] = shape;
      };
      add("input_layernorm", {d});
      add("post_attention_layernorm", {d});
      add("self_attn.q_proj", {d, d});
      add("self_attn.k_proj", {kv, d});
      add("self_attn.v_proj", {kv, d});
      add("self_attn.o_proj", {d, d});
      add("mlp.gate_proj", {s.ffn, d});
      add("mlp.up_proj", {s.ffn, d});
      add("mlp.down_proj", {d, s.ffn});
    }
    const Tensor numbers = normal({1 << 20}, 1);
    for (int64_t i = 0; i < numbers.numel(); ++i) numbers_.emplace_back(0.02f * numbers.data<float>()[i]);
  }

  const std::filesystem::path& path() const override { return path_; }
  std::vector<std::string> names() const override {
    std::vector<std::string> result;
    for (const auto& [name, shape] : shapes_) result.push_back(name);
    return result;
  }
  bool contains(std::string_view name) const override { return shapes_.contains(name); }
  Meta meta(std::string_view name) const override { return {shapes_.find(name)->second, DType::bf16, cpu}; }
  using ModelWeights::load;
  Tensor load(std::string_view name) const override {
    Tensor t = Tensor::empty(meta(name));
    auto* p = t.mutable_data<bf16_t>();
    const bool ones = t.rank() == 1;
    size_t at = std::hash<std::string_view>()(name) % numbers_.size();
    for (int64_t i = 0; i < t.numel(); ++i, ++at) p[i] = ones ? bf16_t(1.f) : numbers_[at % numbers_.size()];
    return t;
  }

 private:
  std::filesystem::path path_ = "random weights";
  std::map<std::string, Shape, std::less<>> shapes_;
  std::vector<bf16_t> numbers_;
};

constexpr int64_t rank = 16;

// What the trainer does (mora/training/update_gradients.cpp), without its files.
class Training {
 public:
  Training(const Sizes& s, const std::shared_ptr<const RandomWeights>& weights, Device device)
      : vocabulary_(s.vocabulary), model_(std::make_unique<Llama>(s.config(), weights, DType::bf16)) {
    model_.add_adapters({.kind = AdapterSpec::Kind::lora, .rank = rank, .alpha = 2 * rank}, "all-linear", 1);
    model_.to(device);
    model_.base().pack();
    optimizer_.emplace(parameters_of(model_, {}), MoRAOptimizerOptions{});
    for (const Parameter& p : optimizer_->parameters()) leaves_.push_back(p.value);
    const auto note = [](const std::string& line) { fmt::print(stderr, "bench: training: {}\n", line); };
    if (device != cpu) graphs_.emplace(device, *optimizer_, note);
  }

  // `sequences` of `length` random tokens, each to be foretold.
  PackedBatch batch(int64_t sequences, int64_t length) const {
    const Tensor numbers = normal({sequences * length}, 5);
    std::vector<Example> examples;
    std::vector<int64_t> rows;
    for (int64_t b = 0; b < sequences; ++b) {
      Example& e = examples.emplace_back();
      for (int64_t i = b * length; i < (b + 1) * length; ++i)
        e.ids.push_back(int32_t(int64_t(std::abs(numbers.data<float>()[i]) * 1e4f) % vocabulary_));
      e.token_labels = e.ids;
      rows.push_back(b);
    }
    std::vector<const Example*> all;
    for (const Example& e : examples) all.push_back(&e);
    return pack(all, rows);
  }

  Tensor mean_loss(const PackedBatch& of) {
    Context context;
    context.training = true;
    return objective_.total(model_, of, context) / objective_.weight(of);
  }
  // An update on the device, which is not waited for, and the loss before it.
  Tensor step(const PackedBatch& of) {
    Context context;
    context.training = true;
    context.step = steps_++;
    const StepInputs inputs =
        step_inputs(objective_, of, objective_.weight(of), 1, context, model_.base().device(), true);
    const auto pass = [&](const StepInputs& in) {
      context.clock = in.clock;
      const Tensor mean = objective_.total(model_, in.batch, context) * in.share(), seed = in.seed();
      return StepResult{mean.detach(), grad(std::span(&mean, 1), leaves_, {}, std::span(&seed, 1))};
    };
    return graphs_->run(inputs, pass, 2e-4).loss;
  }

 private:
  int64_t vocabulary_;
  uint64_t steps_ = 0;
  MoRAModel model_;
  Objective objective_{.task = Task::causal_lm, .class_weights = {}};
  std::optional<MoRAOptimizer> optimizer_;
  Tensors leaves_;
  std::optional<StepGraphs> graphs_;  // on a card
};

}  // namespace

void training(const Inputs& in, Report report) {
  const Sizes s = in.smallest ? Sizes{2, 64, 96, 4, 2, 128, 24} : Sizes{22, 2048, 5632, 32, 4, 32000, 2048};
  const auto weights = std::make_shared<RandomWeights>(s);
  Training there(s, weights, in.device);
  {
    Training here(s, weights, cpu);
    const NoGrad no_grad;
    const PackedBatch few = here.batch(1, std::min<int64_t>(s.length, 64));
    check_near("the loss of a few tokens", there.mean_loss(few).item(), here.mean_loss(few).item(), 5e-3);
  }
  for (const int64_t sequences : {1, 8}) {
    const PackedBatch batch = there.batch(sequences, s.length);
    const double first = there.step(batch).item();
    const double seconds = median_seconds([&] { there.step(batch); }, in), last = there.step(batch).item();
    require<Error>(last < first, "bench: a step of training goes from a loss of {} to {}", first, last);
    report({.name = fmt::format("{:.2f} B parameters, LoRA {} bf16, {} x {} tokens", s.weights() / 1e9, rank, sequences,
                                s.length),
            .seconds = seconds,
            .rate = double(batch.tokens()) / seconds,
            .unit = "tokens/s",
            .limit = product_rate(in, DType::bf16) / s.flops_per_token(rank)});
  }
}

}  // namespace mora::bench
