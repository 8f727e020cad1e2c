// Mixtures of experts without their router, which is another product of the input, and adaptive steps.  Two experts a
// token; forward, and forward with backward. A mixture's speed is set against that of one expert of the same rank.
#include "autograd/grad.h"
#include "autograd/ops/arithmetic.h"
#include "autograd/ops/matmul.h"
#include "autograd/ops/shape.h"
#include "bench/bench.h"
#include "mora/experts/dispatch.h"
#include "mora/experts/routed_layer.h"

namespace mora::bench {
namespace {

constexpr int64_t tokens = 4096, width = 1024, active = 2;

struct Mixture {
  Tensor x, gy;   // (N, in), (N, out)
  Routes routes;  // gates are a leaf
  LowRankExperts experts;

  Mixture(int64_t count, int64_t rank) : x(leaf(normal({tokens, width}, 1))), gy(normal({tokens, width}, 2)) {
    experts = {leaf(normal({count * rank, width}, 3)), leaf(normal({count * rank, width}, 4)), count,
               1.0 / double(width)};
    const RoutingSpec spec{.levels = {count}, .top_k = std::min(active, count)};
    const ExpertRouter router(spec, width, [](const std::string&, const Shape& shape) { return normal(shape, 5); });
    Context context;
    routes = router.route(x.detach(), context, 0);
    routes.gates = leaf(routes.gates.detach());
  }
  Tensor dispatched(Dispatch way) const { return dispatch(way, x, routes, experts); }
  Tensor one_expert() const { return matmul(matmul(x, experts.a, false, true) * experts.scaling, experts.b); }
  // What one writes first: every expert of every token, its own product, times its column of the gates.
  Tensor loop() const {
    Tensor y;
    const int64_t rank = experts.a.dim(0) / experts.count;
    for (int64_t e = 0; e < experts.count; ++e) {
      const Tensor h = matmul(x, slice(experts.a, 0, e * rank, rank), false, true) * experts.scaling;
      const Tensor own = matmul(h, slice(experts.b, 0, e * rank, rank)) * slice(routes.gates, 1, e, 1);
      y = y.defined() ? y + own : own;
    }
    return y;
  }
};

using Run = FunctionRef<Tensor()>;

double forward_seconds(Run run) {
  return median_seconds([&] {
    const NoGrad no_grad;
    run();
  });
}
double training_seconds(const Mixture& m, bool gated, Run run) {
  Tensors wanted{m.x, m.experts.a, m.experts.b};
  if (gated) wanted.push_back(m.routes.gates);
  return median_seconds([&] {
    const Tensor y = run();
    grad(std::span(&y, 1), wanted, {}, std::span(&m.gy, 1));
  });
}

void report_speed(Report report, const std::string& name, double seconds, double single) {
  report({.name = name,
          .seconds = seconds,
          .rate = double(tokens) / seconds,
          .unit = "tokens/s",
          .limit = single > 0 ? double(tokens) / single : 0});
}

void measure(int64_t count, int64_t rank, bool loop, Report report) {
  const Mixture one(1, rank), many(count, rank);
  const auto single = [&] { return one.one_expert(); };
  const auto naive = [&] { return many.loop(); };
  const double forward = forward_seconds(single), training = training_seconds(one, false, single);
  const std::string shape = fmt::format("r={}, {} tokens {}->{}", rank, tokens, width, width);
  report_speed(report, "1 lora expert " + shape + ", forward", forward, 0);
  report_speed(report, "1 lora expert " + shape + ", forward+backward", training, 0);
  const Tensor stacked = many.dispatched(Dispatch::stacked), grouped = many.dispatched(Dispatch::grouped);
  for (int64_t i = 0; i < grouped.numel(); i += 4097)
    check_near("a grouped expert's output", double(grouped.data<float>()[i]), double(stacked.data<float>()[i]), 1e-4);
  for (const auto& [way, name] : {std::pair(Dispatch::stacked, "stacked"), {Dispatch::grouped, "grouped"}}) {
    const auto run = [&, way = way] { return many.dispatched(way); };
    const std::string title = fmt::format("{} lora experts {}, {}", count, name, shape);
    report_speed(report, title + ", forward", forward_seconds(run), forward);
    report_speed(report, title + ", forward+backward", training_seconds(many, true, run), training);
  }
  if (!loop) return;
  const std::string title = fmt::format("{} lora experts in a loop, {}", count, shape);
  report_speed(report, title + ", forward", forward_seconds(naive), forward);
  report_speed(report, title + ", forward+backward", training_seconds(many, true, naive), training);
}

// --- adaptive steps --------------------------------------------------------------------------------------------------

constexpr int64_t act_tokens = 2048;

struct Steps {
  Tensor x = leaf(normal({act_tokens, width}, 1)), gy = normal({act_tokens, width}, 2);
  double bias;
  RoutedLayer layer;

  explicit Steps(double halting_bias)
      : bias(halting_bias),
        layer({.kind = AdapterSpec::Kind::mora, .rank = 8, .op = kernels::OperatorKind::sharing},
              {.act = HaltingSpec{}}, width, width, 0,
              [this](const std::string& name, const Shape& shape) { return parameter(name, shape); }) {}
  Tensor parameter(const std::string& name, const Shape& shape) const {
    if (name == "act.bias") return leaf(Tensor::from(std::vector<float>{float(bias)}, shape));
    return leaf(normal(shape, 3) * (name == "M" ? 0.01 : 0.1));
  }
  double mean_steps() const {
    const NoGrad no_grad;
    RoutedLayers routed;
    Context context;
    context.routed = &routed;
    layer.update(x, context);
    return summarize(routed).steps;
  }
  double seconds() {
    Tensors wanted{x};
    layer.visit_parameters([&](const std::string&, Tensor& value) { wanted.push_back(value); });
    return median_seconds([&] {
      Context context;
      const Tensor y = layer.update(x, context);
      grad(std::span(&y, 1), wanted, {}, std::span(&gy, 1));
    });
  }
};

// The halting bias that gives a mean of so many steps.
double bias_for(double steps) {
  double low = -20, high = 20;  // more steps … fewer
  for (int i = 0; i < 30; ++i) {
    const double middle = (low + high) / 2;
    (Steps(middle).mean_steps() > steps ? low : high) = middle;
  }
  return high;
}

void measure_steps(Report report) {
  double all = 0;
  for (double wanted : {4.0, 3.0, 2.0, 1.3}) {
    Steps steps(wanted == 4.0 ? -20 : bias_for(wanted));
    const double seconds = steps.seconds();
    if (all == 0) all = seconds;
    report({.name = fmt::format("mora r=8 of {:.2f} steps a token, {} tokens {}->{}, forward+backward",
                                steps.mean_steps(), act_tokens, width, width),
            .seconds = seconds,
            .rate = double(act_tokens) / seconds,
            .unit = "tokens/s",
            .limit = double(act_tokens) / all});
  }
}

}  // namespace

void experts(const Inputs&, Report report) {
  for (const auto& [count, rank] : {std::pair<int64_t, int64_t>{4, 8}, {8, 8}, {16, 8}, {32, 8}, {8, 32}, {16, 32}})
    measure(count, rank, false, report);
  measure(64, 32, true, report);
  measure_steps(report);
}

}  // namespace mora::bench
