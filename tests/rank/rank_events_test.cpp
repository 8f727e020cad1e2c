// Rank events on a small model: what they leave as it was, and what they shrink.
#include "mora/rank/rank_events.h"

#include <gtest/gtest.h>

#include <cstring>

#include "adapters/adapted_model.h"
#include "autograd/ops/arithmetic.h"
#include "autograd/ops/shape.h"
#include "loaders/safetensors.h"
#include "loaders/temporary_directory.h"
#include "mora/adapters/mora.h"

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
