// Linears of one x, each frozen and with a static adapter or none (a query, key and value; a gate and its up): x is
// read, and its gradient written, once for all of them.
#pragma once

#include <array>
#include <span>

#include "kernels/matmul.h"
#include "kernels/mora_operator.h"

namespace mora::kernels {

// y = x·Wᵀ + c + what its adapter adds: nothing; h·Bᵀ with h = scale·x·Aᵀ (kernels/lora.h); or D(C(x)·Mᵀ)
// (kernels/mora_operator.h).
struct AdaptedLinear {
  enum class Adapter { none, lora, mora };
  const FrozenWeight* w = nullptr;
  Adapter adapter = Adapter::none;
  std::array<Tensor, 2> factors = {};  // A (r, k) and B (d, r); or M (r̂, r̂); of x's dtype
  double scale = 1;                    // of LoRA
  MoraOperator op = {};                // of MoRA
};

inline AdaptedLinear lora_of(const FrozenWeight& w, const Tensor& a, const Tensor& b, double scale) {
  return {.w = &w, .adapter = AdaptedLinear::Adapter::lora, .factors = {a, b}, .scale = scale};
}
inline AdaptedLinear mora_of(const FrozenWeight& w, const Tensor& m, const MoraOperator& op) {
  return {.w = &w, .adapter = AdaptedLinear::Adapter::mora, .factors = {m, Tensor()}, .op = op};
}

// ys[i] (N, d_i) of x (N, k), and hs[i] (N, r_i) where it is a LoRA; contiguous, one floating dtype
void adapted_linears(const Tensor& x, std::span<const AdaptedLinear> linears, std::span<Tensor> ys,
                     std::span<Tensor> hs);
// gx = the sum of the linears' gradients of x, and those of the factors, from gys[i]; each where defined.
void adapted_linears_backward(const Tensor& x, std::span<const AdaptedLinear> linears, std::span<const Tensor> hs,
                              std::span<const Tensor> gys, Tensor& gx, std::span<std::array<Tensor, 2>> gradients);

namespace cpu {

// Whether the processor has a kernel for all of them at once.
bool takes_together(const Tensor& x, std::span<const AdaptedLinear> linears);
void adapted_linears(const Tensor& x, std::span<const AdaptedLinear> linears, std::span<Tensor> ys,
                     std::span<Tensor> hs);
void adapted_linears_backward(const Tensor& x, std::span<const AdaptedLinear> linears, std::span<const Tensor> hs,
                              std::span<const Tensor> gys, Tensor& gx, std::span<std::array<Tensor, 2>> gradients);

}  // namespace cpu
}  // namespace mora::kernels
