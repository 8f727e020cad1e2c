// Tensors of any floating dtype from f64 values and back, for tests that compare with naive f64 references.
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "engine/random.h"
#include "engine/tensor.h"
#include "tolerance.h"

namespace mora::test {

using Values = std::vector<double>;

// Standard normal numbers times `scale`.
inline Values normal_values(int64_t n, uint64_t seed, double scale = 1) {
  const RandomStream stream({.seed = seed, .purpose = Purpose::probe});
  Values values(static_cast<size_t>(n));
  for (size_t i = 0; i < values.size(); ++i) values[i] = scale * stream.normal(i);
  return values;
}

template <class T>
Tensor convert_to(const Values& values, const Shape& shape) {
  std::vector<T> converted;
  converted.reserve(values.size());
  for (double v : values) {
    if constexpr (sizeof(T) >= 4)
      converted.push_back(T(v));
    else
      converted.push_back(T(float(v)));
  }
  return Tensor::from(converted, shape);
}

inline Tensor tensor_of(const Values& values, const Shape& shape, DType dtype) {
  switch (dtype) {
    case DType::f64: return convert_to<double>(values, shape);
    case DType::f32: return convert_to<float>(values, shape);
    case DType::bf16: return convert_to<bf16_t>(values, shape);
    case DType::f16: return convert_to<f16_t>(values, shape);
    default: fail<DTypeError>("tensor_of: {} is no floating dtype", name_of(dtype));
  }
}

inline double element(const void* data, DType dtype, int64_t i) {
  switch (dtype) {
    case DType::f64: return static_cast<const double*>(data)[i];
    case DType::f32: return double(static_cast<const float*>(data)[i]);
    case DType::bf16: return double(float(static_cast<const bf16_t*>(data)[i]));
    case DType::f16: return double(float(static_cast<const f16_t*>(data)[i]));
    default: fail<DTypeError>("element: {} is no floating dtype", name_of(dtype));
  }
}

// The elements in row-major order, whatever the strides.
inline Values values_of(const Tensor& t) {
  Values values;
  values.reserve(size_t(t.numel()));
  const Strides logical = contiguous_strides(t.shape());
  for (int64_t n = 0; n < t.numel(); ++n) {
    int64_t at = 0;
    for (int i = 0; i < t.rank(); ++i) at += n / logical[i] % t.dim(i) * t.strides()[i];
    values.push_back(element(t.raw(), t.dtype(), at));
  }
  return values;
}

// The largest |a − b| / (1 + |b|); infinite when one of them alone is not finite, or the sizes differ.
inline double difference(const Values& a, const Values& b) {
  if (a.size() != b.size()) return HUGE_VAL;
  double worst = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    if (a[i] == b[i] || (std::isnan(a[i]) && std::isnan(b[i]))) continue;
    const double error = std::abs(a[i] - b[i]) / (1 + std::abs(b[i]));
    worst = std::isfinite(error) ? std::max(worst, error) : HUGE_VAL;
  }
  return worst;
}

// The largest |v|, 1 at least.
inline double largest(const Values& values) {
  double most = 1;
  for (double v : values) most = std::max(most, std::abs(v));
  return most;
}

// Standard normal numbers that bf16 holds: the same in every dtype.
inline Tensor short_normal(const Shape& shape, uint64_t seed, DType dtype) {
  return tensor_of(values_of(tensor_of(normal_values(shape.numel(), seed), shape, DType::bf16)), shape, dtype);
}

}  // namespace mora::test
