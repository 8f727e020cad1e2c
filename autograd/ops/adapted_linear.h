// Linears of one x, each frozen and with its static adapter, in one op: x is read once for all of them, an update is
// added into its output while that is there, and the backward sums the gradient of x as it goes. Dropout, which changes
// an adapter's input, goes by the separate ops.
#pragma once

#include "autograd/op.h"
#include "kernels/adapted_linear.h"

namespace mora {

namespace ops {

using FrozenWeightPtr = std::shared_ptr<const kernels::FrozenWeight>;

}  // namespace ops

// A linear and its adapter, and what keeps its W.
struct AdaptedTerm {
  ops::FrozenWeightPtr w;
  kernels::AdaptedLinear linear = {};
};

namespace ops {

// y_i = x·W_iᵀ + c_i + what its adapter adds, up to three of them.  x (N, k), then the factors of each in turn: of a
// LoRA A (r, k) and B (d_i, r), of a MoRA M (r̂, r̂) → y_i (N, d_i). x·Aᵀ of a LoRA (N, r) is a hint; C(x) of a MoRA is
// cheap and as large as x: the backward computes it again.   Hu et al. 2021, "LoRA"; Jiang et al. 2024, "MoRA"
struct AdaptedLinears {
  static constexpr std::string_view name = "adapted_linears";
  static constexpr uint32_t most = 3;
  static constexpr Saves saves{.inputs = ~uint64_t{0}, .outputs = 0b111000};
  static constexpr uint32_t differentiable_outputs = most;
  std::vector<AdaptedTerm> terms;  // without the factors

  std::array<std::optional<Meta>, 2 * most> infer(std::span<const Meta> in) const;
  void forward(std::span<const Tensor> in, std::span<Tensor> out) const;
  Tensors composite(std::span<const Tensor> in) const;
  Tensors vjp(const Saved& s, std::span<const Tensor> gy, Need need) const;

  size_t factors() const;  // of all of them
  // The terms with the factors among `in`.
  std::vector<kernels::AdaptedLinear> described(std::span<const Tensor> in) const;
};

// gx = Σ_i gy_i·W_i + what the adapters give, and the gradients of the factors.  x, the factors, then gy_i (N, d_i)
struct AdaptedLinearsBackward {
  static constexpr std::string_view name = "adapted_linears_backward";
  AdaptedLinears op;
  Need need;   // of the inputs of op
  Tensors hs;  // the hints

  std::array<std::optional<Meta>, 1 + 2 * AdaptedLinears::most> infer(std::span<const Meta> in) const;
  void forward(std::span<const Tensor> in, std::span<Tensor> out) const;
  Tensors composite(std::span<const Tensor> in) const;
};

}  // namespace ops

// y = x·Wᵀ + bias
AdaptedTerm plain_term(const ops::FrozenWeightPtr& w);
// y = x·Wᵀ + bias + scale·(x·Aᵀ)·Bᵀ
AdaptedTerm lora_term(const ops::FrozenWeightPtr& w, const Tensor& a, const Tensor& b, double scale);
// y = x·Wᵀ + bias + D(C(x)·Mᵀ)
AdaptedTerm mora_term(const ops::FrozenWeightPtr& w, const Tensor& m, const kernels::MoraOperator& op);

// The outputs of one to three linears that read x (N, k).
Tensors adapted_linears(const Tensor& x, std::span<const AdaptedTerm> terms);
inline Tensor adapted_linear(const Tensor& x, const AdaptedTerm& term) { return adapted_linears(x, {&term, 1})[0]; }

}  // namespace mora
