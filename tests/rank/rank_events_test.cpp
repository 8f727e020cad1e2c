// Rank events on a small model: what they leave as it was, and what they shrink.
#include "mora/rank/rank_events.h"

#include <gtest/gtest.h>

#include <cstring>
#include <set>

#include "adapters/adapted_model.h"
#include "autograd/ops/arithmetic.h"
#include "autograd/ops/reduce.h"
#include "autograd/ops/shape.h"
#include "kernels/copy.h"
#include "loaders/safetensors.h"
#include "loaders/temporary_directory.h"
#include "mora/adapters/mora.h"
#include "optim/mora_scheduler.h"

namespace mora {
namespace {

using Kind = AdapterSpec::Kind;
using kernels::OperatorKind;

Tensor hidden_states(const MoRAModel& model) {
  const NoGrad no_grad;
  const PackedBatch batch{.ids = {3, 7, 11, 2, 9, 4, 1},
                          .positions = {0, 1, 2, 3, 0, 1, 2},
                          .type_ids = {},
                          .offsets = {0, 4, 7},
                          .labels = {},
                          .token_labels = {},
                          .targets = {},
                          .rows = {}};
  Context context;
  return contiguous(model.base().hidden_states(to_sequences(batch), context));
}

double worst(const Tensor& a, const Tensor& b) {
  double most = 0;
  for (size_t i = 0; i < a.values<float>().size(); ++i)
    most = std::max(most, std::abs(double(a.values<float>()[i]) - double(b.values<float>()[i])));
  return most;
}

// A model whose adapters do something, with moments from some updates.
struct Trained {
  MoRAModel model;
  MoRAOptimizer optimizer;
  Tensors gradients;

  Trained(const AdapterSpec& spec, const Targets& targets)
      : model(adapted(spec, targets)), optimizer(parameters(), {.weight_decay = 0, .clip = {}}) {
    for (uint64_t i = 0; i < 3; ++i) update(i);
  }
  static MoRAModel adapted(const AdapterSpec& spec, const Targets& targets) {
    MoRAModel m(load_model(test::golden_models / "bert"));
    m.add_adapters(spec, targets, 1);
    test::randomize(m);
    return m;
  }
  std::vector<Parameter> parameters() {
    std::vector<Parameter> list;
    model.visit_parameters([&](const std::string& name, Tensor& t) { list.push_back({.name = name, .value = t}); });
    return list;
  }
  void update(uint64_t number) {
    gradients.clear();
    for (const Parameter& p : optimizer.parameters()) {
      const RandomStream stream({.seed = number, .layer = gradients.size()});
      gradients.push_back(Tensor::empty(p.value.shape()));
      for (int64_t i = 0; i < p.value.numel(); ++i)
        gradients.back().mutable_data<float>()[i] = float(stream.normal(uint64_t(i)));
    }
    optimizer.step(gradients, 1e-3, [](Tensors&) { return false; });
  }
  // Of the adapter, its gradients and its moments.
  size_t bytes() const {
    size_t sum = 0;
    for (const Parameter& p : optimizer.parameters()) sum += 2 * p.value.bytes();
    for (const NamedTensor& t : optimizer.state()) sum += t.tensor.bytes();
    return sum;
  }
};

AllocationOptions at_once(double budget, AllocationLimits limits,
                          ImportanceKind importance = ImportanceKind::gradient) {
  return {.budget = budget, .start = 0, .end = 1, .interval = 1, .limits = limits, .importance = importance};
}

TEST(RankEvents, PruningIsTheSameFunctionAsTheSameEAtZero) {
  Trained run({.kind = Kind::adalora, .rank = 12}, "all-linear"),
      masked({.kind = Kind::adalora, .rank = 12}, "all-linear");
  std::map<std::string, Tensor> before;
  for (const auto& [path, linear] : run.model.adapted())
    linear->layer().visit_parameters(
        [&](const std::string& name, Tensor& t) { before[path + "." + name] = t.detach(); });
  RankAllocator allocator(run.model, run.optimizer, at_once(4, {1, 12}));
  const auto event = allocator.after_update(1, run.gradients);
  ASSERT_TRUE(event.has_value());
  EXPECT_NEAR(event->mean, 4, 0.1);
  int64_t pruned = 0;
  for (const auto& [path, linear] : masked.model.adapted()) {
    const auto rows = before.at(path + ".lora_A").values<float>();
    Tensor now;
    run.model.adapted().at(path)->layer().visit_parameters([&](const std::string& name, Tensor& t) {
      if (name == "lora_A") now = t;
    });
    const int64_t in = now.dim(1);
    linear->layer().visit_parameters([&](const std::string& name, Tensor& e) {
      if (name != "lora_E") return;
      for (int64_t i = 0, next = 0; i < e.dim(0); ++i) {  // which rows of A are left
        const bool kept =
            next < now.dim(0) && std::memcmp(rows.data() + i * in, now.data<float>() + next * in, size_t(in) * 4) == 0;
        next += kept;
        pruned += !kept;
        if (!kept) e.mutable_data<float>()[i] = 0;
      }
    });
  }
  for (const auto& [path, rank] : event->ranks) pruned -= 12 - rank;
  EXPECT_EQ(pruned, 0);
  EXPECT_LT(worst(hidden_states(run.model), hidden_states(masked.model)), 1e-5);
}

TEST(RankEvents, MomentsFollowTheirComponents) {
  Trained run({.kind = Kind::adalora, .rank = 3}, std::vector<std::string>{"query"});
  std::map<std::string, std::pair<Tensor, Tensor>> before;  // value, moment
  const auto moment_of = [&](const std::string& name) {
    for (const NamedTensor& t : run.optimizer.state())
      if (t.name == name + ".mean") return t.tensor;
    return Tensor();
  };
  for (const Parameter& p : run.optimizer.parameters()) before[p.name] = {p.value, moment_of(p.name)};
  RankAllocator allocator(run.model, run.optimizer, at_once(2, {1, 3}));
  allocator.after_update(1, run.gradients);
  for (const Parameter& p : run.optimizer.parameters()) {
    const auto& [value, moment] = before.at(p.name);
    ASSERT_EQ(moment_of(p.name).shape(), p.value.shape()) << p.name;
    for (int64_t i = 0; i < p.value.numel(); ++i) {  // each value that is left still has its moment
      const auto values = value.values<float>();
      const auto at = std::find(values.begin(), values.end(), p.value.data<float>()[i]) - values.begin();
      ASSERT_LT(at, value.numel());
      EXPECT_EQ(moment_of(p.name).data<float>()[i], moment.data<float>()[at]) << p.name << " " << i;
    }
  }
  run.update(9);  // and the optimizer goes on
}

TEST(RankEvents, FiveEventsOfGrowthInARowKeepTheFunction) {
  for (const Kind kind : {Kind::lora, Kind::dora, Kind::adalora}) {
    Trained run({.kind = kind, .rank = 2}, "all-linear");
    for (int64_t event = 1; event <= 5; ++event) {
      const Tensor before = hidden_states(run.model);
      const int64_t rank = 2 + event;  // of every layer, so that none has to give
      RankAllocator allocator(run.model, run.optimizer,
                              at_once(double(rank), {rank, rank}, ImportanceKind::sensitivity));
      const auto happened = allocator.after_update(1, run.gradients);
      for (const auto& [path, now] : happened->ranks) EXPECT_EQ(now, rank) << path;
      EXPECT_LT(worst(before, hidden_states(run.model)), 1e-5) << name_of(kind) << " " << event;
      run.update(uint64_t(10 + event));  // the new components move
    }
  }
}

TEST(RankEvents, FoldsAndRestartsKeepTheFunctionFiveTimesInARow) {
  for (const OperatorKind op : {OperatorKind::rotation, OperatorKind::sharing, OperatorKind::decouple}) {
    Trained run({.kind = Kind::mora, .rank = 4, .op = op}, "all-linear");
    for (int64_t event = 1; event <= 5; ++event) {
      const Tensor before = hidden_states(run.model);
      const double budget = event % 2 ? 2 : 6;  // shrinks and grows
      RankAllocator allocator(run.model, run.optimizer, at_once(budget, {1, 16}, ImportanceKind::norm));
      const auto happened = allocator.after_update(1, run.gradients);
      EXPECT_NEAR(happened->mean, budget, 0.2);
      EXPECT_LT(worst(before, hidden_states(run.model)), 1e-5) << name_of(op) << " " << event;
      run.update(uint64_t(20 + event));
    }
  }
}

TEST(RankEvents, BytesFallToThoseOfAFreshAdapter) {
  for (const Targets& targets : {Targets(std::vector<std::string>{"query", "value"}), Targets("all-linear")}) {
    Trained run({.kind = Kind::adalora, .rank = 12}, targets);
    const Trained fresh({.kind = Kind::adalora, .rank = 4}, targets);
    const size_t full = run.bytes();
    RankAllocator allocator(run.model, run.optimizer, at_once(4, {1, 12}));
    allocator.after_update(1, run.gradients);
    EXPECT_GT(double(full) / double(fresh.bytes()), 2.8);
    EXPECT_NEAR(double(run.bytes()) / double(fresh.bytes()), 1, 0.05);
  }
}

TEST(RankEvents, APrunedAdapterSurvivesBothFormats) {
  const test::TemporaryDirectory directory;
  for (const AdapterSpec& spec : {AdapterSpec{.kind = Kind::lora, .rank = 6},
                                  {.kind = Kind::lora, .rank = 6, .rank_stabilized = true},
                                  {.kind = Kind::dora, .rank = 6},
                                  {.kind = Kind::adalora, .rank = 6}}) {
    Trained run(spec, "all-linear");
    RankAllocator allocator(run.model, run.optimizer, at_once(3, {1, {}}));
    allocator.after_update(1, run.gradients);
    const auto native = directory / "native", peft = directory / "peft";
    test::saved(native, run.model, {});
    std::filesystem::create_directory(peft);
    save_peft(peft, run.model, {.base_model = "", .task = "causal_lm", .pooling = "", .labels = {}});  // whole paths
    for (const auto& path : {native, peft}) {
      MoRAModel loaded(load_model(test::golden_models / "bert"));
      load_adapter(path, loaded);
      EXPECT_LT(worst(hidden_states(run.model), hidden_states(loaded)), 1e-5) << name_of(spec.kind) << " " << path;
      std::filesystem::remove_all(path);
    }
  }
}

// How far Adam's first update with a learning rate of 1e-3, divided by `reach`, moves the layer's output.
double movement(const AdapterSpec& spec, double reach) {
  constexpr int64_t width = 1024;
  const auto layer =
      make_layer(spec, std::make_shared<const kernels::FrozenWeight>(Tensor::zeros({width, width}), Tensor()), 1, 1);
  const auto normal = [](uint64_t seed) {
    const RandomStream stream({.seed = seed});
    Tensor t = Tensor::empty({1, width});
    for (int64_t i = 0; i < width; ++i) t.mutable_data<float>()[i] = float(stream.normal(uint64_t(i)));
    return t;
  };
  const Tensor x = normal(1), direction = normal(2);
  std::vector<Parameter> parameters;
  Tensors leaves;
  layer->visit_parameters([&](const std::string& name, Tensor& t) {
    parameters.push_back({.name = name, .value = t});
    leaves.push_back(t);
  });
  Context context;
  Tensors gradients = grad(sum(layer->update(x, context) * direction), leaves);
  MoRAOptimizer optimizer(parameters, {.weight_decay = 0, .clip = {}});
  optimizer.step(gradients, 1e-3 * MoRAScheduler::rank_scale(1, reach), [](Tensors&) { return false; });
  const NoGrad no_grad;
  return worst(layer->update(x, context), Tensor::zeros({1, width}));
}

TEST(RankScale, AnUpdateMovesTheOutputAsMuchAtEveryRank) {
  // ΔW = s·B·A with s = 1 before and after.
  const double lora = movement({.kind = Kind::lora, .rank = 64, .alpha = 64}, 64);
  EXPECT_NEAR(movement({.kind = Kind::lora, .rank = 512, .alpha = 512}, 512) / lora, 1, 0.1);
  for (const OperatorKind op : {OperatorKind::rotation, OperatorKind::decouple, OperatorKind::truncation}) {
    const double mora = movement({.kind = Kind::mora, .rank = 8, .op = op}, 128);
    EXPECT_NEAR(movement({.kind = Kind::mora, .rank = 128, .op = op}, 512) / mora, 1, 0.15) << name_of(op);
  }
  for (const OperatorKind op :
       {OperatorKind::sharing, OperatorKind::group, OperatorKind::group_sharing, OperatorKind::sharing_group}) {
    const double mora = movement({.kind = Kind::mora, .rank = 8, .op = op}, std::sqrt(128));
    EXPECT_NEAR(movement({.kind = Kind::mora, .rank = 128, .op = op}, std::sqrt(512)) / mora, 1, 0.1) << name_of(op);
  }
}

// The movement of each parameter in an update after an event, with and without the scale.
TEST(RankScale, EachLayersRateFollowsItsRank) {
  for (const Kind kind : {Kind::lora, Kind::dora, Kind::adalora, Kind::mora}) {
    Trained plain({.kind = kind, .rank = 6}, "all-linear"), scaled({.kind = kind, .rank = 6}, "all-linear");
    std::map<std::string, int64_t> sides;
    for (const auto& [path, linear] : plain.model.adapted())
      if (const auto* mora = dynamic_cast<const MoRA*>(&linear->layer())) sides[path] = mora->op().rank;
    std::map<std::string, Tensor> before;
    std::set<int64_t> ranks;
    for (Trained* run : {&plain, &scaled}) {
      AllocationOptions options = at_once(3, {1, 12});
      options.scale_lr = run == &scaled;
      RankAllocator allocator(run->model, run->optimizer, options);
      allocator.after_update(1, run->gradients);
      for (const Parameter& p : run->optimizer.parameters()) before[p.name] = kernels::copied(p.value);
      run->update(9);
    }
    for (size_t i = 0; i < plain.optimizer.parameters().size(); ++i) {
      const Parameter &a = plain.optimizer.parameters()[i], &b = scaled.optimizer.parameters()[i];
      const std::string path = a.name.substr(0, a.name.rfind('.'));
      const MoRALayer& layer = plain.model.adapted().at(path)->layer();
      const auto* mora = dynamic_cast<const MoRA*>(&layer);
      double expected = mora ? double(sides.at(path)) / double(mora->op().rank) : 6.0 / double(layer.rank());
      if (a.name.ends_with("magnitude_vector")) expected = 1;
      ranks.insert(layer.rank());
      double moved = 0, moved_scaled = 0;
      for (size_t j = 0; j < a.value.values<float>().size(); ++j) {
        const double start = double(before.at(a.name).values<float>()[j]);
        moved += std::abs(double(a.value.values<float>()[j]) - start);
        moved_scaled += std::abs(double(b.value.values<float>()[j]) - start);
      }
      EXPECT_NEAR(moved_scaled / moved, expected, 1e-3 * expected) << a.name;
    }
    EXPECT_NE(ranks, std::set<int64_t>{6}) << name_of(kind);
  }
}

// D·M·C of a layer without its history.
Tensor merged_alone(const MoRA& layer) {
  MoRA alone(layer.spec(), layer.op().in, layer.op().out, layer.op().rank, 1);
  alone.visit_parameters([&](const std::string&, Tensor& m) { m = layer.matrix(); });
  return alone.merged();
}

struct Remora : ::testing::Test {
  test::TemporaryDirectory directory;
};

TEST_F(Remora, FourRestartsAreTheHistoryInTheFile) {
  const AdapterSpec spec{.kind = Kind::mora, .rank = 4, .op = OperatorKind::sharing};
  Trained run(spec, "all-linear");
  const RestartOptions options{.interval = 1, .operators = {OperatorKind::sharing, OperatorKind::group}};
  int64_t elements = 0;  // of all Ms, the last included
  const auto count = [&] { run.model.visit_parameters([&](const std::string&, Tensor& m) { elements += m.numel(); }); };
  count();
  for (int64_t number = 0; number < 4; ++number) {
    const Tensor before = hidden_states(run.model);
    restart_all(run.model, run.optimizer, options, number);
    EXPECT_LT(worst(before, hidden_states(run.model)), 1e-5) << number;
    for (const NamedTensor& t : run.optimizer.state()) {
      if (!t.name.ends_with(".step")) continue;
      EXPECT_EQ(t.tensor.data<int64_t>()[0], 0) << t.name;
    }
    run.update(uint64_t(30 + number));
    count();
  }
  const auto path = test::saved(directory / "adapter", run.model, {});
  const SafetensorsFile file = SafetensorsFile::open(path / "adapter.safetensors");
  uint64_t header = 0;
  std::memcpy(&header, test::read_bytes(file.path()).data(), sizeof header);
  EXPECT_EQ(std::filesystem::file_size(file.path()), sizeof header + header + uint64_t(4 * elements));
  EXPECT_EQ(file.metadata(), (StringMap{{"format", "mora"}}));
  EXPECT_EQ(file.tensors().size(), 5 * run.model.adapted().size());
  for (const TensorInfo& t : file.tensors()) EXPECT_TRUE(t.name.ends_with(".M")) << t.name;

  MoRAModel loaded(load_model(test::golden_models / "bert"));
  load_adapter(path, loaded);
  EXPECT_LT(worst(hidden_states(run.model), hidden_states(loaded)), 1e-6);
  MoRAModel plain(load_model(test::golden_models / "bert"));
  for (const auto& [module, linear] : loaded.adapted()) {
    const auto& layer = dynamic_cast<const MoRA&>(linear->layer());
    ASSERT_EQ(layer.history().size(), 4U);
    EXPECT_EQ(layer.history()[0].op.kind, OperatorKind::sharing);
    EXPECT_EQ(layer.history()[1].op.kind, OperatorKind::group);
    EXPECT_EQ(layer.op().kind, OperatorKind::sharing);
    // The weight that it runs on is the model's own and the merge of the history.
    const Tensor own = linear->frozen()->weight(),
                 base = cast((*plain.find(module)->slot)->frozen()->weight(), DType::f32);
    const Tensor merged = layer.merged() - merged_alone(layer);
    for (int64_t i = 0; i < own.numel(); ++i)
      EXPECT_NEAR(own.data<float>()[i], double(base.data<float>()[i]) + merged.data<double>()[i], 1e-5);
  }
}

}  // namespace
}  // namespace mora
