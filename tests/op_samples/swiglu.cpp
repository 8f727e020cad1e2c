#include "op_samples/sample.h"

namespace mora::test {

template <>
struct Samples<ops::Swiglu> {
  static std::vector<Sample> list() {
    const ops::Swiglu op;
    return {sample("rows", op, {normal({3, 21}), normal({3, 21})}),
            sample("no_rows", op, {normal({0, 5}), normal({0, 5})}),
            sample("other_shape", op, {normal({3, 5}), normal({3, 4})}).throws("swiglu: gate f64 (3, 5) against up"),
            sample("integers", op, {normal({2, 2}).as(DType::i32), normal({2, 2}).as(DType::i32)})
                .throws("swiglu: gate i32 (2, 2)")};
  }
};

template <>
struct Samples<ops::SwigluBackward> {
  static std::vector<Sample> list() {
    const ops::SwigluBackward op;
    return {sample("rows", op, {normal({3, 21}), normal({3, 21}), normal({3, 21})}),
            sample("no_rows", op, {normal({0, 5}), normal({0, 5}), normal({0, 5})}),
            sample("other_gradient", op, {normal({3, 5}), normal({3, 5}), normal({3, 4})})
                .throws("swiglu_backward: gate (3, 5), up (3, 5), gy (3, 4)")};
  }
};

template <>
std::vector<OpSamples> samples_of<SwigluOps>() {
  return list_samples(SwigluOps{});
}

}  // namespace mora::test
