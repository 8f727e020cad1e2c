// Work that is recorded once and done again (engine/graph.h).
#include "engine/graph.h"

#include <cmath>

#include "cuda/twin.h"
#include "engine/cuda.h"
#include "kernels/binary.h"
#include "kernels/copy.h"
#include "kernels/matmul.h"
#include "kernels/optimizer.h"
#include "kernels/reduce.h"
#include "kernels/unary.h"
#include "optim/mora_optimizer.h"

namespace mora::test {
namespace {

std::vector<float> numbers(const Tensor& t) {
  const Tensor host = t.to(cpu);
  return {host.values<float>().begin(), host.values<float>().end()};
}

void write(const std::vector<float>& values, Tensor& t) {
  kernels::copy(Tensor::from(values, t.shape()).to(t.device()), t);
}

// y = (x·W)² + b, by a product, a copy within the device, a zeroed sum and two kernels, all of them recorded.
Tensor squares(const Tensor& x, const Tensor& w, const Tensor& b) {
  Tensor product = Tensor::zeros({x.dim(0), w.dim(1)}, DType::f32, device);
  kernels::matmul(x, w, product, {.accumulate = true});
  Tensor copied = Tensor::empty(product.meta()), y = Tensor::empty(product.meta());
  kernels::copy(product, copied);
  kernels::binary(copied, product, y, kernels::Binary::mul);
  kernels::axpy(b, y, 1);
  return y;
}

TEST(RecordedWork, IsDoneAtEachReplayWithWhatItsTensorsHold) {
  Tensor x = Tensor::from(std::vector<float>{1, 2}, {1, 2}).to(device);
  const Tensor w = Tensor::from(std::vector<float>{1, 3, 2, 4}, {2, 2}).to(device);
  const Tensor b = Tensor::from(std::vector<float>{10, 20}, {1, 2}).to(device);
  Tensor y;
  Graph graph(make_ref<GraphPool>(device), [&] { y = squares(x, w, b); });
  for (const float scale : {1.f, -2.f, 3.f}) {
    write({scale, 2 * scale}, x);
    graph.replay();
    EXPECT_EQ(numbers(y), (std::vector<float>{25 * scale * scale + 10, 121 * scale * scale + 20}));
  }
}

TEST(RecordedWork, IsNotDoneWhileItIsRecorded) {
  Tensor x = Tensor::from(std::vector<float>{1, 2}, {2}).to(device);
  Graph graph(make_ref<GraphPool>(device), [&] { kernels::fill(x, 7); });
  EXPECT_EQ(numbers(x), (std::vector<float>{1, 2}));
  graph.replay();
  EXPECT_EQ(numbers(x), (std::vector<float>{7, 7}));
}

TEST(RecordedWork, KeepsWhatItReads) {
  Tensor y;
  std::optional<Graph> graph;
  {
    const Tensor x = Tensor::from(std::vector<float>{1, 2}, {1, 2}).to(device);
    const Tensor w = Tensor::from(std::vector<float>{1, 3, 2, 4}, {2, 2}).to(device);
    const Tensor b = Tensor::zeros({1, 2}, DType::f32, device);
    graph.emplace(make_ref<GraphPool>(device), [&] { y = squares(x, w, b); });
  }
  const Tensor others = Tensor::from(std::vector<float>{9, 9, 9, 9}, {4}).to(device);  // where x was, had it gone
  graph->replay();
  EXPECT_EQ(numbers(y), (std::vector<float>{25, 121}));
}

TEST(RecordedWork, UsesMemoryOfItsPoolAgain) {
  constexpr int64_t n = 1000;
  const Ref<GraphPool> pool = make_ref<GraphPool>(device);
  const Tensor x = Tensor::from(std::vector<float>(size_t(n), 1.f), {n}).to(device);
  Tensor y = x;
  auto doubled = [&] {
    for (int i = 0; i < 6; ++i) {
      Tensor next = Tensor::empty(x.meta());
      kernels::binary(y, y, next, kernels::Binary::add);
      y = next;
    }
  };
  Graph first(pool, doubled);
  EXPECT_EQ(pool->bytes(), 2 * 4096) << "six results, two of which are there at a time";
  const Tensor of_first = y;
  y = x;
  Graph second(pool, doubled);
  EXPECT_EQ(pool->bytes(), 3 * 4096) << "what the first gave and two of the second";
  first.replay();
  second.replay();
  EXPECT_EQ(numbers(of_first), std::vector<float>(size_t(n), 64.f));
  EXPECT_EQ(numbers(y), std::vector<float>(size_t(n), 64.f));
}

TEST(RecordedWork, FreesWhatGoesMeanwhileWhenItIsRecorded) {
  const Ref<GraphPool> pool = make_ref<GraphPool>(device);
  const int64_t before = cuda::memory_stats(0).live_bytes;
  Tensor old = Tensor::zeros({100}, DType::f32, device), x = Tensor::zeros({100}, DType::f32, device);
  Graph graph(pool, [&] {
    old = Tensor();
    kernels::fill(x, 1);
  });
  EXPECT_EQ(cuda::memory_stats(0).live_bytes - before, 400);
  graph.replay();
  EXPECT_EQ(numbers(x), std::vector<float>(100, 1.f));
}

TEST(RecordedWork, HasTheTablesOfManyTensors) {
  Tensors xs, sums;
  for (const int64_t n : {3, 70}) {
    xs.push_back(Tensor::from(std::vector<float>(size_t(n), float(n)), {n}).to(device));
    sums.push_back(Tensor::zeros({n}, DType::f32, device));
  }
  Graph graph(make_ref<GraphPool>(device), [&] { kernels::add_all(xs, sums); });
  graph.replay();
  graph.replay();
  EXPECT_EQ(numbers(sums[0]), std::vector<float>(3, 6.f));
  EXPECT_EQ(numbers(sums[1]), std::vector<float>(70, 140.f));
}

// Rates and corrections, which change from step to step, are those of the step.
TEST(RecordedWork, IsAnUpdateWithTheBitsOfOneThatIsCalled) {
  const auto on_device = [](float value, int64_t n) {
    return Tensor::from(std::vector<float>(size_t(n), value), {n}).to(device);
  };
  for (const char* kind : {"sgd", "adamw", "lamb"}) {
    const auto optimizer = [&] {
      const std::vector<Parameter> parameters{{.name = "a", .value = on_device(1, 70)},
                                              {.name = "b", .value = on_device(-2, 3), .lr_scale = 4}};
      return MoRAOptimizer(parameters, {.kind = kind, .clip = 1});
    };
    MoRAOptimizer called = optimizer(), replayed = optimizer();
    Tensors gradients{on_device(0, 70), on_device(0, 3)};
    const Tensor loss = on_device(1, 1);
    Tensor steps = replayed.next_steps(gradients, 0);
    MoRAOptimizer::Begun begun;
    Graph graph(make_ref<GraphPool>(device), [&] { begun = replayed.begin_recorded(gradients, steps, loss); });
    for (const float step : {1.f, 2.f, NAN, 3.f}) {
      const double lr = std::isnan(step) ? 0.1 : 0.1 / step;
      Tensors own{on_device(step, 70), on_device(-1, 3)};
      kernels::copy_all(own, gradients);
      (void)called.outcome(called.begin(own, lr, loss));
      kernels::copy(replayed.next_steps(gradients, lr), steps);
      graph.replay();
      replayed.count(begun);
      EXPECT_EQ(replayed.outcome(begun).applied, !std::isnan(step));
      for (size_t i = 0; i < 2; ++i)
        EXPECT_EQ(numbers(replayed.parameters()[i].value), numbers(called.parameters()[i].value)) << kind << step;
    }
    EXPECT_NE(numbers(called.parameters()[0].value), std::vector<float>(70, 1.f));
  }
}

TEST(RecordedWork, TakesNoCopiesFromOrToTheProcessor) {
  Tensor x = Tensor::zeros({2}, DType::f32, device);
  const Ref<GraphPool> pool = make_ref<GraphPool>(device);
  const auto refused = [&](const char* which, FunctionRef<void()> work) {
    try {
      Graph graph(pool, work);
      ADD_FAILURE() << which;
    } catch (const DeviceError& error) {
      EXPECT_NE(std::string(error.what()).find(std::string("a copy ") + which + " the device cannot be recorded"),
                std::string::npos)
          << error.what();
    }
  };
  refused("to", [&] { (void)Tensor::from(std::vector<float>{1}, {1}).to(device); });
  refused("from", [&] { (void)x.to(cpu); });
  EXPECT_THROW(Graph(pool, [&] { cuda::synchronize(0); }), DeviceError);
  kernels::fill(x, 3);  // the device goes on
  EXPECT_EQ(numbers(x), (std::vector<float>{3, 3}));
}

TEST(RecordedWork, NotesIndicesOutOfRangeAtEachReplay) {
  const Tensor table = Tensor::from(std::vector<float>{1, 2, 3}, {3, 1}).to(device);
  Tensor rows = Tensor::from(std::vector<int32_t>{0, 2}, {2}).to(device);
  Tensor y = Tensor::empty({2, 1}, DType::f32, device);
  Graph graph(make_ref<GraphPool>(device), [&] { kernels::gather_rows(table, rows, y); });
  graph.replay();
  EXPECT_EQ(numbers(y), (std::vector<float>{1, 3}));
  kernels::copy(Tensor::from(std::vector<int32_t>{3, 0}, {2}).to(device), rows);
  for (int i = 0; i < 2; ++i) {
    graph.replay();
    EXPECT_THROW((void)y.to(cpu), ShapeError) << "replay " << i;
  }
}

TEST(DeviceErrors, NameTheKernelAndTheShapes) {
  const Tensor a = Tensor::zeros({2, 3}, DType::f32, device), b = Tensor::zeros({3, 2});
  Tensor y = Tensor::zeros({2, 2}, DType::f32, device);
  try {
    kernels::matmul(a, b, y, {});
    ADD_FAILURE();
  } catch (const DeviceError& error) {
    EXPECT_NE(std::string(error.what()).find("(matmul of (2, 3) f32, (3, 2) f32, (2, 2) f32)"), std::string::npos)
        << error.what();
  }
}

}  // namespace
}  // namespace mora::test
