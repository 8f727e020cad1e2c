// The benchmarks that `mora bench` runs. A subject is one file of this folder: it checks its results, then times them
// and sets each time against what this machine (bench/machine.h) or its card (bench/card.h) could do, measured in the
// same run.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "engine/device.h"
#include "engine/parallel.h"
#include "engine/tensor.h"

namespace mora::bench {

// One measurement.
struct Row {
  std::string name;            // what ran: operation, shape, dtype
  double seconds = 0;          // of one run, the median
  double rate = 0;             // work a second, in units; 0: the time says it all
  std::string_view unit = {};  // of rate and limit
  double limit = 0;            // what the rate is set against; 0: nothing
};

// Where subjects that need them find a model and a text, which may be empty; and where they run.
struct Inputs {
  std::string model, text;
  Device device = cpu;
  bool smallest = false;  // for tests: shapes that show that a subject works, each run once
};

using Report = FunctionRef<void(const Row&)>;

struct Subject {
  std::string_view name, summary;
  bool needs_model = false, needs_text = false;
  bool on_processor = true, on_card = false;
  void (*run)(const Inputs& inputs, Report report) = nullptr;  // throws Error where a result is wrong
};
std::span<const Subject> subjects();

// The median time of one call, in seconds: two calls to warm up, then samples of at least a millisecond, nine of them
// and a quarter of a second together. On a card: the time between two of its events, a twentieth of a second together.
double median_seconds(FunctionRef<void()> run, const Inputs& in = {});

// Standard normal numbers that depend on shape and seed alone.
Tensor normal(const Shape& shape, uint64_t seed, DType dtype = DType::f32);
// The same where `in` runs; on a card a million of them over and over.
Tensor normal_on(const Inputs& in, const Shape& shape, uint64_t seed, DType dtype = DType::f32);

// Throws Error that names `what` unless got is within tolerance·(1 + |expected|).
void check_near(std::string_view what, double got, double expected, double tolerance);
// Throws Error that names `what` and an element unless two floating tensors, wherever they are, agree in each: within
// their dtype's tolerance · (root mean square of what is expected + |expected|).
void check_same(std::string_view what, const Tensor& got, const Tensor& expected);

// The subjects, one a file.
void gemm(const Inputs& inputs, Report report);
void adapters(const Inputs& inputs, Report report);
void experts(const Inputs& inputs, Report report);
void attention(const Inputs& inputs, Report report);
void elementwise(const Inputs& inputs, Report report);
void optimizer(const Inputs& inputs, Report report);
void training(const Inputs& inputs, Report report);
void overhead(const Inputs& inputs, Report report);
void decode(const Inputs& inputs, Report report);
void tokenizer(const Inputs& inputs, Report report);

}  // namespace mora::bench
