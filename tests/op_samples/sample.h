// One sample table for all ops: an op's constants with inputs to run it on. Drivers
// (tests/autograd/op_samples_test.cpp) take every sample of every op through derivatives, composites, strides, dtypes
// and wrong inputs.
//
// An op's samples stand in a specialisation, in the .cpp file of its family:
//   template <>
//   struct Samples<ops::Add> {
//     static std::vector<Sample> list() { return {sample("broadcast", ops::Add{}, {normal({3, 1}), normal({4})})}; }
//   };
#pragma once

#include <functional>
#include <type_traits>

#include "autograd/ops/all.h"

namespace mora::test {

enum class Draw { normal, positive, boolean };

// What an input of a sample is drawn from. Every number fits in 8 significant bits, so that all floating dtypes hold
// the same ones; the last bit follows the seed's, so that numbers of neighbouring inputs never tie.
struct Input {
  Shape shape;
  Draw draw = Draw::normal;
  bool parameter = false;      // stays f32 where the sample runs in 16 bits
  std::optional<DType> dtype;  // whatever the sample runs in

  Input as(DType fixed) const { return {shape, draw, parameter, fixed}; }
  Tensor make(DType sample_dtype, uint64_t seed) const;
};

inline Input normal(const Shape& shape) { return {shape, Draw::normal, false, {}}; }
inline Input positive(const Shape& shape) { return {shape, Draw::positive, false, {}}; }  // about 0.4 to 2.5
inline Input boolean(const Shape& shape) { return {shape, Draw::boolean, false, DType::boolean}; }
inline Input parameter(const Shape& shape) { return {shape, Draw::normal, true, {}}; }

// While one lives, samples that are made, and those that run, have their inputs and constants on a device.
class OnDevice {
 public:
  explicit OnDevice(Device device);
  ~OnDevice();
  OnDevice(const OnDevice&) = delete;
  OnDevice& operator=(const OnDevice&) = delete;
};
Device sample_device();

// Constants of ops.
Tensor ints(const std::vector<int32_t>& values);  // i32 (n)
Indices indices(const std::vector<int32_t>& values);
Tensor constant(const Shape& shape, uint64_t seed, DType dtype);                          // as `normal`
inline DType wide(DType dtype) { return dtype == DType::f64 ? DType::f64 : DType::f32; }  // of statistics and tables

using Function = std::function<Tensors(std::span<const Tensor>)>;

struct Sample {
  std::string name;
  std::vector<Input> inputs;
  Function run;        // the outputs that carry gradients
  Function composite;  // the same by the op's composite; empty where it has none
  bool differentiable = true;
  int output_roundings = 1, gradient_roundings = 1;  // factors on the tolerance of 16-bit results
  std::string error;                                 // where the inputs are wrong: a part of the message

  // The op and its vjp are chains of ops that round to 16 bits, or their sums cancel.
  Sample rounded(int times) &&;
  // The inputs are wrong: running throws an Error with `fragment` in its message.
  Sample throws(std::string fragment) &&;

  Tensors draw(DType dtype) const;
  bool empty() const;  // some input has no elements
};

namespace detail {

template <class Op>
Tensors differentiable_outputs(auto&& result) {
  Tensors list;
  if constexpr (std::is_same_v<std::remove_cvref_t<decltype(result)>, Tensor>)
    list = {std::move(result)};
  else
    list = Tensors(result.begin(), result.end());
  if constexpr (requires { Op::differentiable_outputs; }) list.resize(Op::differentiable_outputs);
  std::erase_if(list, [](const Tensor& t) { return !t.defined(); });
  return list;
}

}  // namespace detail

// `make` is an op, or gives one from the inputs: for constants that depend on them, as what a forward left.
template <class Make>
Sample sample(std::string name, Make make, std::vector<Input> inputs) {
  auto op_for = [make](std::span<const Tensor> x) {
    if constexpr (std::is_invocable_v<Make, std::span<const Tensor>>) {
      NoGrad constants;
      return make(x);
    } else {
      return make;
    }
  };
  using Op = std::invoke_result_t<decltype(op_for), std::span<const Tensor>>;
  Sample s{.name = std::move(name), .inputs = std::move(inputs), .run = {}, .composite = {}, .error = {}};
  s.differentiable = !mora::detail::NotDifferentiable<Op>;
  if constexpr (!mora::detail::HasVjp<Op>) s.gradient_roundings = 16;  // the derivative of a composite, op by op
  s.run = [op_for](std::span<const Tensor> x) -> Tensors {
    return detail::differentiable_outputs<Op>(apply_list(op_for(x), x));
  };
  if constexpr (mora::detail::HasComposite<Op>) {
    s.composite = [op_for](std::span<const Tensor> x) -> Tensors {
      return detail::differentiable_outputs<Op>(OpNode<Op>::composite_of(op_for(x), x));
    };
  }
  return s;
}

template <class Op>
struct Samples;  // an op of AllOps without a specialisation does not compile

struct OpSamples {
  std::string_view op;
  std::vector<Sample> samples;
};

// The samples of a family of ops: instantiated by the family's .cpp.
template <class List>
std::vector<OpSamples> samples_of();

// For the end of a family's file.
template <class... Ops>
std::vector<OpSamples> list_samples(OpList<Ops...>) {
  return {OpSamples{Ops::name, Samples<Ops>::list()}...};
}

// All ops' samples, made anew, or those on the processor.
std::vector<OpSamples> make_samples();
const std::vector<OpSamples>& all_samples();

}  // namespace mora::test
