// Elementary functions and activations, element by element: y = f(x). Floating dtypes.
#pragma once

#include "autograd/op.h"
#include "kernels/unary.h"

namespace mora {

namespace ops {

// One op for all of them: they differ in the kernel's function and in one line of derivative.
template <kernels::Unary F>
struct Elementary {
  static constexpr std::string_view name = kernels::unary_name(F);
  static constexpr bool saves_output = F == kernels::Unary::exp || F == kernels::Unary::sqrt ||
                                       F == kernels::Unary::rsqrt || F == kernels::Unary::reciprocal ||
                                       F == kernels::Unary::tanh || F == kernels::Unary::sigmoid;
  static constexpr Saves saves{.inputs = saves_output ? 0u : 1u, .outputs = saves_output ? 1u : 0u};
  Meta infer(const Meta& x) const;
  void forward(const Tensor& x, Tensor& y) const;
  Tensors vjp(const Saved& s, const Tensor& gy, Need need) const;
};

// Activations have a backward of their own, in one pass, and a composite in elementary functions.
template <kernels::Unary F>
struct ActivationFunction {
  static constexpr std::string_view name = kernels::unary_name(F);
  static constexpr Saves saves{.inputs = 0b1};
  static constexpr bool recomputed = true;
  Meta infer(const Meta& x) const;
  void forward(const Tensor& x, Tensor& y) const;
  Tensor composite(const Tensor& x) const;
  Tensors vjp(const Saved& s, const Tensor& gy, Need need) const;
};

template <kernels::Unary F>
struct ActivationBackward {  // gx = gy · f'(x)
  static constexpr std::string_view name = kernels::unary_backward_name(F);
  Meta infer(const Meta& x, const Meta& gy) const;
  void forward(const Tensor& x, const Tensor& gy, Tensor& gx) const;
  Tensor composite(const Tensor& x, const Tensor& gy) const;
};

using Exp = Elementary<kernels::Unary::exp>;
using Log = Elementary<kernels::Unary::log>;
using Sqrt = Elementary<kernels::Unary::sqrt>;
using Rsqrt = Elementary<kernels::Unary::rsqrt>;
using Reciprocal = Elementary<kernels::Unary::reciprocal>;
using Square = Elementary<kernels::Unary::square>;
using Tanh = Elementary<kernels::Unary::tanh>;
using Sigmoid = Elementary<kernels::Unary::sigmoid>;
using Erf = Elementary<kernels::Unary::erf>;
using Sin = Elementary<kernels::Unary::sin>;
using Cos = Elementary<kernels::Unary::cos>;
using Relu = Elementary<kernels::Unary::relu>;
using Absolute = Elementary<kernels::Unary::absolute>;
using Gelu = ActivationFunction<kernels::Unary::gelu>;
using GeluTanh = ActivationFunction<kernels::Unary::gelu_tanh>;
using Silu = ActivationFunction<kernels::Unary::silu>;
using GeluBackward = ActivationBackward<kernels::Unary::gelu>;
using GeluTanhBackward = ActivationBackward<kernels::Unary::gelu_tanh>;
using SiluBackward = ActivationBackward<kernels::Unary::silu>;

struct Sign {  // −1, 0, 1; its derivative is 0 almost everywhere
  static constexpr std::string_view name = "sign";
  using NotDifferentiable = void;
  Meta infer(const Meta& x) const;
  void forward(const Tensor& x, Tensor& y) const;
};

struct Step {  // 1 where x > 0, else 0; its derivative is 0 almost everywhere
  static constexpr std::string_view name = "step";
  using NotDifferentiable = void;
  Meta infer(const Meta& x) const;
  void forward(const Tensor& x, Tensor& y) const;
};

}  // namespace ops

Tensor exp(const Tensor& x);
Tensor log(const Tensor& x);
Tensor sqrt(const Tensor& x);
Tensor rsqrt(const Tensor& x);
Tensor reciprocal(const Tensor& x);
Tensor square(const Tensor& x);
Tensor tanh(const Tensor& x);
Tensor sigmoid(const Tensor& x);
Tensor erf(const Tensor& x);
Tensor sin(const Tensor& x);
Tensor cos(const Tensor& x);
Tensor relu(const Tensor& x);
Tensor absolute(const Tensor& x);
Tensor gelu(const Tensor& x);       // Hendrycks & Gimpel 2016, with erf
Tensor gelu_tanh(const Tensor& x);  // its tanh approximation
Tensor silu(const Tensor& x);
Tensor sign(const Tensor& x);
Tensor step(const Tensor& x);

}  // namespace mora
