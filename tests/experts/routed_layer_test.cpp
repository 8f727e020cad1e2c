// The stacked layer against its experts one by one, on disk, and where it must refuse.
#include "mora/experts/routed_layer.h"

#include <gtest/gtest.h>

#include <cmath>

#include "autograd/gradcheck.h"
#include "autograd/ops/arithmetic.h"
#include "autograd/ops/matmul.h"
#include "autograd/ops/mora_operator.h"
#include "autograd/ops/reduce.h"
#include "autograd/ops/shape.h"
#include "loaders/temporary_directory.h"
#include "mora/adapters/lora.h"
#include "mora/adapters/mora.h"
#include "mora/models/registry.h"
#include "mora/peft_directory.h"

namespace mora {
namespace {

using Kind = AdapterSpec::Kind;
using Rule = RoutingSpec::Rule;
constexpr int64_t in = 10, out = 7;

Tensor normal(const Shape& shape, uint64_t layer) {
  const RandomStream stream({.seed = 5, .layer = layer});
  Tensor t = Tensor::empty(shape, DType::f64);
  double* values = t.mutable_data<double>();
  for (int64_t i = 0; i < t.numel(); ++i) values[i] = stream.normal(uint64_t(i));
  return t;
}

AdapterSpec spec_of(Kind kind, kernels::OperatorKind op = kernels::OperatorKind::sharing) {
  AdapterSpec spec;
  spec.kind = kind;
  spec.rank = 2;
  spec.op = op;
  return spec;
}

RoutingSpec routing_of(Rule rule, int64_t count) { return {.rule = rule, .levels = {count}, .top_k = 2, .top_p = 0.6}; }

// Random in f64.
RoutedLayer layer_of(const AdapterSpec& spec, const RoutedSpec& routed) {
  uint64_t number = 20;
  return RoutedLayer(spec, routed, in, out, 1,
                     [&](const std::string&, const Shape& shape) { return leaf(normal(shape, ++number)); });
}

std::map<std::string, Tensor> parameters_of(RoutedLayer& layer) {
  std::map<std::string, Tensor> parameters;
  layer.visit_parameters([&](const std::string& name, Tensor& value) { parameters[name] = value; });
  return parameters;
}

// Σ_e g_e·f_e(x), each f_e a layer of its own over a slice of the stacked parameters.
Tensor one_by_one(RoutedLayer& layer, const Tensor& x) {
  const auto parameters = parameters_of(layer);
  const RoutingSpec routing = *layer.routed().experts;
  const AdapterSpec& spec = layer.spec();
  Context context;
  ExpertRouter router(routing, in, [&](const std::string& name, const Shape&) { return parameters.at(name); });
  const Tensor gates = router.route(x, context, 1).gates;
  Tensor total;
  for (int64_t e = 0; e < routing.experts(); ++e) {
    Tensor update;
    if (spec.kind == Kind::lora) {
      const Tensor a = slice(parameters.at("lora_A"), 0, e * spec.rank, spec.rank);
      const Tensor b = slice(parameters.at("lora_B"), 0, e * spec.rank, spec.rank);
      update = matmul(matmul(x, contiguous(a), false, true) * lora_scaling(spec), contiguous(b));
    } else {
      const int64_t side = MoRA::side_for(spec, in, out);
      const kernels::MoraOperator op{spec.op, in, out, side};
      const Tensor s = mora_compress(x, op);
      const Tensor m = contiguous(slice(parameters.at("M"), 0, e * side, side));
      update = mora_decompress(reshape(matmul(reshape(s, {-1, side}), m, false, true), s.shape()), op);
    }
    const Tensor gated = update * slice(gates, 1, e, 1);
    total = total.defined() ? total + gated : gated;
  }
  return total;
}

double worst(const Tensor& a, const Tensor& b) {
  const Tensor x = contiguous(a), y = contiguous(b);
  double difference = 0;
  for (int64_t i = 0; i < x.numel(); ++i)
    difference = std::max(difference, std::abs(x.data<double>()[i] - y.data<double>()[i]));
  return difference;
}

struct Mixture : ::testing::TestWithParam<std::tuple<AdapterSpec, Rule, int64_t>> {
  AdapterSpec spec() const { return std::get<0>(GetParam()); }
  RoutingSpec routing() const { return routing_of(std::get<1>(GetParam()), std::get<2>(GetParam())); }
};

TEST_P(Mixture, IsTheGatedSumOfItsExperts) {
  RoutedLayer layer = layer_of(spec(), {.experts = routing()});
  for (int64_t tokens : {1, 9}) {
    const Tensor x = leaf(normal({tokens, in}, 3)), weights = normal({tokens, out}, 4);
    Context context;
    const Tensor stacked = layer.update(x, context), reference = one_by_one(layer, x);
    EXPECT_LT(worst(stacked, reference), 1e-12);
    Tensors inputs{x};
    layer.visit_parameters([&](const std::string&, Tensor& value) { inputs.push_back(value); });
    const Tensors a = grad(sum(stacked * weights), inputs), b = grad(sum(reference * weights), inputs);
    for (size_t i = 0; i < inputs.size(); ++i) EXPECT_LT(worst(a[i], b[i]), 1e-10) << "input " << i;
  }
}

std::string name_of_case(const ::testing::TestParamInfo<Mixture::ParamType>& tested) {
  const auto& [spec, rule, count] = tested.param;
  return fmt::format("{}_{}_{}_{}", name_of(spec.kind), name_of(spec.op), name_of(rule), count);
}
INSTANTIATE_TEST_SUITE_P(Mixtures, Mixture,
                         ::testing::Combine(::testing::Values(spec_of(Kind::lora), spec_of(Kind::mora),
                                                              spec_of(Kind::mora, kernels::OperatorKind::rotation)),
                                            ::testing::Values(Rule::top_k, Rule::top_p, Rule::threshold, Rule::dynmoe,
                                                              Rule::switch_top1),
                                            ::testing::Values(2, 5, 200)),
                         name_of_case);

TEST(RoutedLayer, DifferentiatesToSecondOrder) {
  for (const Kind kind : {Kind::lora, Kind::mora}) {
    RoutedLayer layer = layer_of(spec_of(kind), {.experts = routing_of(Rule::threshold, 3)});
    const Tensor x = normal({4, in}, 3);
    Tensors inputs;
    layer.visit_parameters([&](const std::string&, Tensor& value) { inputs.push_back(value); });
    auto f = [&](std::span<const Tensor> values) -> Tensors {
      size_t i = 0;
      RoutedLayer at(layer.spec(), layer.routed(), in, out, 1,
                     [&](const std::string&, const Shape&) { return values[i++]; });
      Context context;
      context.training = true;
      Tensor total = sum(at.update(x, context));
      for (const Tensor& loss : context.losses) total = total + loss;
      return {total};
    };
    EXPECT_EQ(check_grads(f, inputs), "") << name_of(kind);
  }
}

TEST(RoutedLayer, StartsAtNothingAndNotesWhatItDid) {
  for (const Kind kind : {Kind::lora, Kind::mora}) {
    const auto layer = RoutedLayer::fresh(spec_of(kind), {.experts = routing_of(Rule::top_k, 4)}, in, out, 1, 6);
    const Tensor x = cast(normal({5, in}, 3), DType::f32);
    RoutedLayers routed;
    Context training, evaluation;
    training.training = true;
    training.routed = &routed;
    const Tensor y = layer->update(x, training);
    for (float v : y.values<float>()) EXPECT_EQ(v, 0);
    EXPECT_EQ(training.losses.size(), 1U);
    ASSERT_TRUE(routed.contains(6));
    EXPECT_DOUBLE_EQ(summarize(routed).active_experts, 2);
    layer->update(x, evaluation);
    EXPECT_TRUE(evaluation.losses.empty());
  }
}

// --- adaptive steps --------------------------------------------------------------------------------------------------

const HaltingSpec four_steps{.max_steps = 4, .epsilon = 0.1, .ponder = 0.25};

// Experts, a tree of them, and steps together: token by token, each step a mixture of its own.
TEST(RoutedLayer, StepsIterateTheMixture) {
  for (const RoutedSpec& routed :
       {RoutedSpec{.act = four_steps}, RoutedSpec{.experts = routing_of(Rule::top_k, 4), .act = four_steps},
        RoutedSpec{.experts = RoutingSpec{.levels = {2, 3}, .top_k = 1}, .act = four_steps}}) {
    const AdapterSpec spec = spec_of(Kind::mora, kernels::OperatorKind::rotation);
    RoutedLayer layer = layer_of(spec, routed);
    auto parameters = parameters_of(layer);
    const int64_t side = MoRA::side_for(spec, in, out);
    const kernels::MoraOperator op{spec.op, in, out, side};
    const Tensor x = normal({9, in}, 3);
    Context context;
    const Tensor y = layer.update(x, context);
    for (int64_t n = 0; n < 9; ++n) {
      const Tensor own = contiguous(slice(x, 0, n, 1)), start = mora_compress(own, op);
      Tensor gates = Tensor::from(std::vector<double>{1}, {1, 1});
      if (routed.experts) {
        ExpertRouter router(*routed.experts, in,
                            [&](const std::string& name, const Shape&) { return parameters[name]; });
        gates = router.route(own, context, 1).gates;
      }
      const Tensor stacked = reshape(parameters.at("M"), {layer.experts(), side, side});
      const Tensor m = sum(stacked * reshape(gates, {layer.experts(), 1, 1}), {0});
      const Halting halting(four_steps, op.chunks() * side,
                            [&](const std::string& name, const Shape&) { return parameters.at(name); });
      const auto step = [&](const Tensor& s, const Tensor&) {
        return reshape(matmul(reshape(s, {op.chunks(), side}), m, false, true), s.shape());
      };
      const Tensor z = halting.run(reshape(start, {1, op.chunks() * side}), step, context, 1);
      EXPECT_LT(worst(slice(y, 0, n, 1), mora_decompress(reshape(z, start.shape()), op)), 1e-12) << n;
    }
  }
}

TEST(RoutedLayer, StepsAndExpertsDifferentiateToSecondOrder) {
  RoutedLayer layer = layer_of(spec_of(Kind::mora), {.experts = routing_of(Rule::top_p, 3), .act = four_steps});
  const Tensor x = normal({4, in}, 3);
  Tensors inputs;
  layer.visit_parameters([&](const std::string&, Tensor& value) { inputs.push_back(value * 0.3); });
  auto f = [&](std::span<const Tensor> values) -> Tensors {
    size_t i = 0;
    RoutedLayer at(layer.spec(), layer.routed(), in, out, 1,
                   [&](const std::string&, const Shape&) { return values[i++]; });
    Context context;
    context.training = true;
    Tensor total = sum(at.update(x, context));
    for (const Tensor& loss : context.losses) total = total + loss;
    return {total};
  };
  EXPECT_EQ(check_grads(f, inputs), "");
}

// --- merging ---------------------------------------------------------------------------------------------------------

TEST(RoutedLayer, MergesWhereItsRouterIsConstant) {
  const HaltingSpec one_step{.max_steps = 1};
  for (const Kind kind : {Kind::lora, Kind::mora}) {
    for (const RoutedSpec& routed :
         {RoutedSpec{.experts = routing_of(Rule::top_k, 3)},
          RoutedSpec{.experts = RoutingSpec{.rule = Rule::top_p, .levels = {2, 2}}},
          RoutedSpec{.experts = RoutingSpec{.levels = {1}, .top_k = 1}}, RoutedSpec{.act = one_step}}) {
      if (kind == Kind::lora && routed.act) continue;
      RoutedLayer layer = layer_of(spec_of(kind), routed);
      const bool single = layer.experts() == 1;
      if (!single) {
        EXPECT_THROW(layer.merged(), ConfigError);
      }
      layer.visit_parameters([&](const std::string& name, Tensor& value) {
        if (name == "router.weight" && !single) value = leaf(Tensor::zeros(value.shape(), DType::f64));
      });
      Context context;
      const Tensor x = normal({5, in}, 3);
      const Tensor merged = matmul(x, layer.merged(), false, true);
      EXPECT_LT(worst(layer.update(x, context), merged), 1e-12);
      if (kind == Kind::lora) {
        const LowRank product = layer.as_low_rank();
        EXPECT_LT(worst(matmul(product.b, product.a) * product.scaling, layer.merged()), 1e-12);
      }
    }
  }
  RoutedLayer steps = layer_of(spec_of(Kind::mora), {.act = four_steps});
  EXPECT_THROW(steps.merged(), ConfigError);
}

// --- on a model ------------------------------------------------------------------------------------------------------

const std::filesystem::path bert = std::filesystem::path(MORA_SOURCE_DIR) / "tests/goldens/models/bert";

MoRAModel mixture_model(Kind kind, const RoutedSpec& routed) {
  MoRAModel model(load_model(bert));
  model.add_adapters(spec_of(kind), "all-linear", 1, {}, routed);
  uint64_t number = 0;
  model.visit_parameters([&](const std::string&, Tensor& value) {
    value = leaf(cast(normal(value.shape(), ++number) * 0.1, DType::f32));
  });
  return model;
}

Tensor hidden_of(const MoRAModel& model) {
  PackedBatch batch;
  for (int32_t i = 0; i < 9; ++i) batch.ids.push_back(3 * i), batch.positions.push_back(i);
  batch.offsets = {0, 9};
  const NoGrad no_grad;
  Context context;
  return contiguous(model.base().hidden_states(to_sequences(batch), context));
}

TEST(RoutedLayer, ComesBackFromItsDirectoryToTheBit) {
  const test::TemporaryDirectory directory;
  std::vector<RoutingSpec> routings{{.levels = {2, 3}, .top_k = 1, .noise = 0.5, .entropy = 0.25}};
  for (const Rule rule : {Rule::top_k, Rule::top_p, Rule::threshold, Rule::dynmoe, Rule::switch_top1})
    routings.push_back(routing_of(rule, 4));
  routings[3].threshold = 0.2;
  for (const Kind kind : {Kind::lora, Kind::mora}) {
    for (const RoutingSpec& routing : routings) {
      MoRAModel model = mixture_model(kind, {.experts = routing});
      replace_adapter(directory / "adapter", model, {});
      MoRAModel loaded(load_model(bert));
      load_adapter(directory / "adapter", loaded);
      for (const auto& [path, linear] : loaded.adapted())
        EXPECT_EQ(dynamic_cast<const RoutedLayer&>(linear->layer()).routed().experts, routing) << path;
      const Tensor a = hidden_of(model), b = hidden_of(loaded);
      EXPECT_TRUE(std::ranges::equal(a.values<float>(), b.values<float>())) << name_of(kind) << name_of(routing.rule);
    }
  }
}

TEST(RoutedLayer, StepsComeBackFromTheirDirectory) {
  const test::TemporaryDirectory directory;
  const RoutedSpec routed{
      .experts = routing_of(Rule::top_k, 2),
      .act = HaltingSpec{.max_steps = 3, .epsilon = 0.2, .ponder = 0.5, .loss = HaltingSpec::Loss::pondernet}};
  MoRAModel model = mixture_model(Kind::mora, routed);
  replace_adapter(directory / "adapter", model, {});
  MoRAModel loaded(load_model(bert));
  load_adapter(directory / "adapter", loaded);
  for (const auto& [path, linear] : loaded.adapted()) {
    const RoutedSpec back = dynamic_cast<const RoutedLayer&>(linear->layer()).routed();
    EXPECT_EQ(back.experts, routed.experts) << path;
    EXPECT_EQ(back.act, routed.act) << path;
  }
  const Tensor a = hidden_of(model), b = hidden_of(loaded);
  EXPECT_TRUE(std::ranges::equal(a.values<float>(), b.values<float>()));
}

TEST(RoutedLayer, IsNotWrittenAsAStaticUpdate) {
  const test::TemporaryDirectory directory;
  MoRAModel model = mixture_model(Kind::lora, {.experts = routing_of(Rule::top_k, 4)});
  std::filesystem::create_directory(directory / "peft");
  try {
    save_peft(directory / "peft", model, {});
    FAIL() << "a mixture in PEFT's format";
  } catch (const ConfigError& error) {
    EXPECT_NE(std::string(error.what()).find("a mixture of experts"), std::string::npos) << error.what();
  }
  EXPECT_THROW(model.adapted().begin()->second->layer().merged(), ConfigError);
}

}  // namespace
}  // namespace mora
