#include "op_samples/sample.h"

#include <bit>
#include <cmath>

#include "engine/random.h"
#include "kernels/copy.h"

namespace mora::test {

namespace {

Device current_device = cpu;

// To 8 significant bits, the last of them `last`.
float rounded_to(double x, uint16_t last) {
  const auto bits = uint16_t((std::bit_cast<uint16_t>(bf16_t(float(x))) & ~1) | last);
  return float(std::bit_cast<bf16_t>(bits));
}

}  // namespace

Tensor Input::make(DType sample_dtype, uint64_t seed) const {
  const RandomStream stream({.seed = seed, .purpose = Purpose::probe});
  Tensor t = Tensor::empty(shape);
  float* values = t.mutable_data<float>();
  for (int64_t i = 0; i < t.numel(); ++i) {
    const double x = stream.normal(uint64_t(i));
    switch (draw) {
      case Draw::normal: values[i] = rounded_to(x, seed % 2); break;
      case Draw::positive: values[i] = rounded_to(std::exp(0.3 * x), seed % 2); break;
      case Draw::boolean: values[i] = float(x > 0); break;
    }
  }
  Tensor result = Tensor::empty(shape, dtype.value_or(parameter ? wide(sample_dtype) : sample_dtype));
  kernels::copy(t, result);
  return result.to(current_device);
}

OnDevice::OnDevice(Device device) { current_device = device; }
OnDevice::~OnDevice() { current_device = cpu; }
Device sample_device() { return current_device; }

Indices indices(const std::vector<int32_t>& values) {
  return Indices(Tensor::from(values, {int64_t(values.size())})).to(current_device);
}
Tensor ints(const std::vector<int32_t>& values) { return indices(values).tensor(); }
Tensor constant(const Shape& shape, uint64_t seed, DType dtype) { return normal(shape).make(dtype, seed); }

Sample Sample::rounded(int times) && {
  output_roundings = gradient_roundings = times;
  return std::move(*this);
}

Sample Sample::throws(std::string fragment) && {
  error = std::move(fragment);
  return std::move(*this);
}

Tensors Sample::draw(DType dtype) const {
  Tensors result;
  for (const Input& input : inputs) result.push_back(input.make(dtype, 100 + result.size()));
  return result;
}

bool Sample::empty() const {
  return std::any_of(inputs.begin(), inputs.end(), [](const Input& input) { return input.shape.numel() == 0; });
}

namespace {

template <class... Families>
std::vector<OpSamples> concatenated() {
  std::vector<OpSamples> all;
  (
      [&] {
        std::vector<OpSamples> family = samples_of<Families>();
        std::move(family.begin(), family.end(), std::back_inserter(all));
      }(),
      ...);
  return all;
}

}  // namespace

std::vector<OpSamples> make_samples() {
  return concatenated<AdaptedLinearOps, ArithmeticOps, AttentionOps, CrossEntropyOps, DropoutOps, ElementaryOps,
                      ActivationOps, EmbeddingOps, GroupedOps, LinearCrossEntropyOps, MatmulOps, MoraOperatorOps,
                      NormOps, ReduceOps, ShapeOps, SoftmaxOps, SwigluOps>();
}

const std::vector<OpSamples>& all_samples() {
  static const std::vector<OpSamples> all = make_samples();
  return all;
}

}  // namespace mora::test
