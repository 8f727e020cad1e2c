// A kernel on the device, emulated or not, against itself on the processor.
#pragma once

#include <gtest/gtest.h>

#include <functional>

#include "engine/tensor.h"
#include "kernels/values.h"

namespace mora::test {

inline constexpr Device device{DeviceKind::cuda, 0};
inline constexpr DType floating_dtypes[] = {DType::f64, DType::f32, DType::bf16, DType::f16};

// What a kernel should fill: nothing but NaN (−1 in integers).
Tensor unwritten(const Shape& shape, DType dtype);

// Calls f with the tensors, on the processor, and with copies of them on the device, in all orders of threads, and
// expects the same in all of them afterwards: |a − b| ≤ tolerance·(1 + |b|), where b is the processor's; exactly the
// same numbers in integers. Undefined tensors stay undefined.
using TensorFunction = std::function<void(Tensors&)>;
void expect_twins(const Tensors& tensors, double tolerance, const TensorFunction& f);
int64_t cases_run();  // so many calls of expect_twins

}  // namespace mora::test
