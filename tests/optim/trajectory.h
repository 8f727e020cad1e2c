// Runs an optimizer over the two parameters and the formula gradients of write_optimizer_goldens.py.
#pragma once

#include <gtest/gtest.h>

#include "goldens/formula.h"
#include "goldens/optimizers.h"
#include "optim/optimizer.h"

namespace mora::test {

inline Tensor formula_tensor(std::string_view name, const Shape& shape, DType dtype, double bound = 1) {
  std::vector<double> wide;
  for (int64_t i = 0; i < shape.numel(); ++i) wide.push_back(goldens::formula_value(name, uint64_t(i), bound));
  if (dtype == DType::f64) return Tensor::from(wide, shape);
  return Tensor::from(std::vector<float>(wide.begin(), wide.end()), shape);
}

inline std::vector<Parameter> golden_parameters(DType dtype) {
  return {{.name = "w", .value = formula_tensor("w", {3, 5}, dtype)},
          {.name = "b", .value = formula_tensor("b", {7}, dtype)}};
}

inline std::vector<Tensor> golden_gradients(int64_t t, DType dtype, double scale = 1) {
  const std::string number = std::to_string(t);
  return {formula_tensor("grad.w." + number, {3, 5}, dtype, scale),
          formula_tensor("grad.b." + number, {7}, dtype, scale)};
}

inline std::vector<double> flat(std::span<const Tensor> tensors) {
  std::vector<double> values;
  for (const Tensor& t : tensors)
    for (int64_t i = 0; i < t.numel(); ++i) values.push_back(t.alias({}, {}, t.offset() + i).item());
  return values;
}

inline std::vector<double> flat(const Optimizer& optimizer) {
  std::vector<Tensor> values;
  for (const Parameter& p : optimizer.parameters()) values.push_back(p.value);
  return flat(values);
}

// A hundred updates, compared where the golden has values.
inline void expect_trajectory(Optimizer& optimizer, const goldens::OptimizerGolden& golden, DType dtype) {
  size_t stored = 0;
  for (int64_t t = 0; t < goldens::optimizer_steps.back(); ++t) {
    optimizer.step(golden_gradients(t, dtype), golden.lr);
    if (t + 1 != goldens::optimizer_steps[stored]) continue;
    const std::vector<double> got = flat(optimizer);
    for (size_t i = 0; i < got.size(); ++i)
      ASSERT_NEAR(got[i], golden.parameters[stored][i], dtype == DType::f64 ? 1e-12 : 1e-5)
          << golden.kind << " lr " << golden.lr << " update " << t + 1 << " element " << i;
    ++stored;
  }
}

}  // namespace mora::test
