// Updates of one large f32 parameter, and what clipping and SAM do beside them: the bytes that cannot be avoided over
// the time, as a share of the bandwidth of an add of as many, on a card of the driver's copy.
#include "kernels/optimizer.h"

#include <array>

#include "bench/bench.h"
#include "bench/card.h"

namespace mora::bench {
namespace {

// A parameter and its gradient, and two moments.
struct State {
  Tensor w, g, mean, square;
  State(const Inputs& in, const Shape& shape)
      : w(normal_on(in, shape, 1)),
        g(normal_on(in, shape, 2)),
        mean(Tensor::zeros(shape, DType::f32, in.device)),
        square(Tensor::zeros(shape, DType::f32, in.device)) {}
};

struct Work {
  const char* name;
  int passes;  // of the parameter's bytes, read or written
  void (*run)(State& s);
};

constexpr Work works[] = {
    {"adamw", 7,
     [](State& s) {
       kernels::AdamWTerm term{.parameter = s.w, .gradient = s.g, .mean = s.mean, .square = s.square, .largest = {}};
       term.lr = 1e-3;
       kernels::adamw_update(std::span(&term, 1), {});
     }},
    {"sgd with momentum", 5,
     [](State& s) {
       kernels::SgdTerm term{.parameter = s.w, .gradient = s.g, .buffer = s.mean, .lr = 1e-3};
       kernels::sgd_update(std::span(&term, 1), {.momentum = 0.9});
     }},
    {"SAM's perturbation", 3,
     [](State& s) {
       kernels::PerturbationTerm term{.parameter = s.w, .gradient = s.g};
       kernels::perturb(std::span(&term, 1), 0, 1e-6);
     }},
    {"scale of gradients", 2, [](State& s) { kernels::scale_all(std::span(&s.g, 1), 1); }},
    {"global norm, waited for", 1, [](State& s) { kernels::global_norm(std::span(&s.g, 1)); }},
};

// One run, where the bench runs and on the processor.
void check(const Work& work, const Inputs& in) {
  const Shape few{37, 41};
  State here({}, few), there(in, few);
  work.run(here);
  work.run(there);
  check_same(work.name, there.w, here.w);
  check_same(work.name, there.mean, here.mean);
  check_same(work.name, there.square, here.square);
}

}  // namespace

void optimizer(const Inputs& in, Report report) {
  const Shape shape = in.smallest ? Shape{16, 40} : in.device == cpu ? Shape{2048, 576} : Shape{8192, 4096};
  for (const Work& work : works) {
    if (in.device != cpu) check(work, in);
    State state(in, shape);
    const double bytes = double(state.w.bytes()), seconds = median_seconds([&] { work.run(state); }, in);
    report({.name = fmt::format("{} {}x{} f32", work.name, shape[0], shape[1]),
            .seconds = seconds,
            .rate = work.passes * bytes / seconds / 1e9,
            .unit = "GB/s",
            .limit = traffic_limit(in, Traffic::forward_backward, int64_t(bytes))});
  }
}

}  // namespace mora::bench
