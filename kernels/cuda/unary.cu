// Element-wise functions of one tensor, and swiglu. The derivatives: kernels/cpu/unary.cpp.
#include "kernels/cuda/unary.h"

#include "kernels/cuda/map.h"

namespace mora::kernels::cuda {
namespace {

template <class C>
SIMT_DEVICE C sigmoid(C x) {
  return C(1) / (C(1) + exp(-x));
}
// Φ(x)
template <class C>
SIMT_DEVICE C normal_distribution(C x) {
  return C(0.5) * erfc(-x * C(0.70710678118654752));
}
// 2u of gelu_tanh, and its derivative by x.
constexpr double twice_root_two_by_pi = 2 * 0.79788456080286536;
template <class C>
SIMT_DEVICE C gelu_tanh_argument(C x) {
  return C(twice_root_two_by_pi) * x * (C(1) + C(0.044715) * x * x);
}
template <class C>
SIMT_DEVICE C gelu_tanh_argument_slope(C x) {
  return C(twice_root_two_by_pi) * (C(1) + C(3 * 0.044715) * x * x);
}
// s + x·s(1 − s)·slope
template <class C>
SIMT_DEVICE C gated_derivative(C x, C s, C slope) {
  return s + x * s * (C(1) - s) * slope;
}

// One kernel for all functions: the branch is the same for every thread, and is free beside the memory's time.
struct UnaryFunction {
  Unary f;

  template <class C>
  SIMT_DEVICE void operator()(const C (&x)[1], C (&y)[1]) const {
    y[0] = of(x[0]);
  }

  template <class C>
  SIMT_DEVICE C of(C x) const {
    switch (f) {
      case Unary::negate: return -x;
      case Unary::absolute: return fabs(x);
      case Unary::sign: return x > 0 ? C(1) : x < 0 ? C(-1) : x;
      case Unary::exp: return exp(x);
      case Unary::log: return log(x);
      case Unary::sqrt: return sqrt(x);
      case Unary::rsqrt: return C(1) / sqrt(x);
      case Unary::reciprocal: return C(1) / x;
      case Unary::square: return x * x;
      case Unary::tanh: return tanh(x);
      case Unary::sigmoid: return sigmoid(x);
      case Unary::erf: return erf(x);
      case Unary::sin: return sin(x);
      case Unary::cos: return cos(x);
      case Unary::relu: return x < 0 ? C(0) : x;
      case Unary::step: return x > 0 ? C(1) : C(0);
      case Unary::gelu: return x * normal_distribution(x);
      case Unary::gelu_tanh: return x * sigmoid(gelu_tanh_argument(x));
      case Unary::silu: return x * sigmoid(x);
    }
    return x;
  }
};

struct UnaryDerivative {
  Unary f;

  template <class C>
  SIMT_DEVICE void operator()(const C (&in)[2], C (&gx)[1]) const {
    gx[0] = in[1] * at(in[0]);
  }

  template <class C>
  SIMT_DEVICE C at(C x) const {
    if (f == Unary::gelu) return normal_distribution(x) + x * C(0.39894228040143268) * exp(-C(0.5) * x * x);
    if (f == Unary::gelu_tanh) return gated_derivative(x, sigmoid(gelu_tanh_argument(x)), gelu_tanh_argument_slope(x));
    return gated_derivative(x, sigmoid(x), C(1));
  }
};

struct Affine {
  double scale, shift;

  template <class C>
  SIMT_DEVICE void operator()(const C (&x)[1], C (&y)[1]) const {
    y[0] = C(scale) * x[0] + C(shift);
  }
};

struct Power {
  double exponent;

  template <class C>
  SIMT_DEVICE void operator()(const C (&x)[1], C (&y)[1]) const {
    y[0] = C(pow(double(x[0]), exponent));
  }
};

// By repeated squaring.
struct IntegerPower {
  int exponent;

  template <class C>
  SIMT_DEVICE void operator()(const C (&x)[1], C (&y)[1]) const {
    C power = 1, square = x[0];
    for (int e = abs(exponent); e > 0; e /= 2, square *= square)
      if (e % 2) power *= square;
    y[0] = exponent < 0 ? C(1) / power : power;
  }
};

// NaN stays NaN.
struct Clamp {
  double low, high;

  template <class C>
  SIMT_DEVICE void operator()(const C (&x)[1], C (&y)[1]) const {
    y[0] = x[0] < C(low) ? C(low) : x[0] > C(high) ? C(high) : x[0];
  }
};

struct Swiglu {
  template <class C>
  SIMT_DEVICE void operator()(const C (&in)[2], C (&y)[1]) const {
    y[0] = in[0] * sigmoid(in[0]) * in[1];
  }
};

struct SwigluBackward {
  template <class C>
  SIMT_DEVICE void operator()(const C (&in)[3], C (&out)[2]) const {
    const C gate = in[0], up = in[1], gy = in[2], s = sigmoid(gate);
    out[0] = gy * up * gated_derivative(gate, s, C(1));
    out[1] = gy * gate * s;
  }
};

// A thread takes whole blocks of four numbers of the stream, at least 16 bytes of x.
template <class T>
struct Dropout {
  static constexpr int threads = 256;
  static constexpr int width = pack_width<T> < 4 ? 4 : pack_width<T>;
  Array<const T> x;
  Array<T> y;
  int64_t packs;
  uint32_t threshold;  // a number whose upper 24 bits are at least this is kept
  double scale;        // of what is kept
  RandomKey key;
  Array<const int64_t> clock;  // the key's epoch and step, or none: those of the key

  SIMT_DEVICE void operator()() const {
    RandomKey now = key;
    if (clock.size > 0) now.epoch = uint64_t(clock[0]), now.step = uint64_t(clock[1]);
    const uint64_t stream = stream_of(now);
    for (int64_t i = simt::global_index(); i < packs; i += simt::global_size()) {
      Pack<T, width> pack = x.template pack<width>(i * width);
      for (int block = 0; block < width / 4; ++block) {
        const PhiloxBlock numbers = numbers_of(uint64_t(i) * (width / 4) + uint64_t(block), stream);
        for (int k = 0; k < 4; ++k) drop(pack.values[4 * block + k], numbers[size_t(k)]);
      }
      y.template set_pack<width>(i * width, pack);
    }
    for (int64_t i = packs * width + simt::global_index(); i < y.size; i += simt::global_size()) {
      T value = x[i];
      drop(value, numbers_of(uint64_t(i) / 4, stream)[size_t(i % 4)]);
      y[i] = value;
    }
  }

  SIMT_DEVICE PhiloxBlock numbers_of(uint64_t block, uint64_t stream) const {
    return philox({uint32_t(block), uint32_t(block >> 32), uint32_t(stream), uint32_t(stream >> 32)},
                  uint32_t(key.seed), uint32_t(key.seed >> 32));
  }
  SIMT_DEVICE void drop(T& value, uint32_t number) const {
    value = (number >> 8) >= threshold ? narrow<T>(widen(value) * Compute<T>(scale)) : narrow<T>(0);
  }
};

}  // namespace

void launch_unary(View x, View y, Unary f) { launch_map({x}, {y}, UnaryFunction{f}); }
void launch_unary_backward(View x, View gy, View gx, Unary f) { launch_map({x, gy}, {gx}, UnaryDerivative{f}); }
void launch_affine(View x, View y, double scale, double shift) { launch_map({x}, {y}, Affine{scale, shift}); }
void launch_power(View x, View y, double exponent) {
  if (exponent == 0.5) return launch_unary(x, y, Unary::sqrt);
  if (fabs(exponent) <= 64 && trunc(exponent) == exponent) return launch_map({x}, {y}, IntegerPower{int(exponent)});
  launch_map({x}, {y}, Power{exponent});
}
void launch_clamp(View x, View y, double low, double high) { launch_map({x}, {y}, Clamp{low, high}); }
void launch_swiglu(View gate, View up, View y) { launch_map({gate, up}, {y}, Swiglu{}); }
void launch_swiglu_backward(View gate, View up, View gy, View ggate, View gup) {
  launch_map({gate, up, gy}, {ggate, gup}, SwigluBackward{});
}

void launch_dropout(View x, View y, double p, const RandomKey& key, View clock) {
  visit_floating(x.dtype, [&](auto t) {
    using T = decltype(t);
    using Kernel = Dropout<T>;
    const int64_t packs = moves_in_packs(x) && moves_in_packs(y) ? x.size / Kernel::width : 0;
    simt::launch(simt::blocks_for(x.size, Kernel::threads * Kernel::width),
                 Kernel{elements<const T>(x), elements<T>(y), packs, uint32_t(ceil(p * 0x1p24)), 1 / (1 - p), key,
                        elements<const int64_t>(clock)});
  });
}

}  // namespace mora::kernels::cuda
