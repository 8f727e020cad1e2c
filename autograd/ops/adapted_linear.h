// A frozen linear together with its static adapter, in one op: the update is added into the output while it is there,
// and the backward adds the adapter's share into the gradient of x. Dropout, which changes the adapter's input, goes by
// the separate ops.
#pragma once

#include "autograd/op.h"
#include "autograd/ops/arithmetic.h"
#include "autograd/ops/matmul.h"
#include "autograd/ops/mora_operator.h"
#include "autograd/ops/shape.h"
#include "kernels/binary.h"
#include "kernels/lora.h"
#include "kernels/matmul.h"
#include "kernels/mora_operator.h"

namespace mora {

namespace ops {

using FrozenWeightPtr = std::shared_ptr<const kernels::FrozenWeight>;

// y = x·Wᵀ + bias + h·Bᵀ,  h = scale·x·Aᵀ.  x (N, k), A (r, k), B (d, r) → y (N, d); h (N, r) is a hint.   Hu et al.
// 2021, "LoRA"
struct LoraLinear {
  static constexpr std::string_view name = "lora_linear";
  static constexpr Saves saves{.inputs = 0b111, .outputs = 0b10};
  static constexpr uint32_t differentiable_outputs = 1;
  FrozenWeightPtr w;
  double scale = 1;

  std::array<Meta, 2> infer(const Meta& x, const Meta& a, const Meta& b) const {
    const int64_t k = w->in(), d = w->out();
    require<ShapeError>(x.shape.rank() == 2 && x.shape[1] == k && a.shape.rank() == 2 && a.shape[1] == k &&
                            b.shape == Shape({d, a.shape[0]}),
                        "lora_linear: x {}, A {}, B {} on W ({}, {})", x.shape, a.shape, b.shape, d, k);
    require<DTypeError>(is_floating(x.dtype) && a.dtype == x.dtype && b.dtype == x.dtype,
                        "lora_linear: x {}, A {}, B {}", name_of(x.dtype), name_of(a.dtype), name_of(b.dtype));
    return {Meta{{x.shape[0], d}, x.dtype, x.device}, Meta{{x.shape[0], a.shape[0]}, x.dtype, x.device}};
  }
  void forward(const Tensor& x, const Tensor& a, const Tensor& b, Tensor& y, Tensor& h) const {
    kernels::lora_linear(x, *w, a, b, y, h, scale);
  }
  Tensors composite(const Tensor& x, const Tensor& a, const Tensor& b) const {
    return {linear(x, w) + mora::matmul(mora::matmul(x, a, false, true) * scale, b, false, true), Tensor()};
  }
  Tensors vjp(const Saved& s, const Tensor& gy, Need need) const;
};

// gx = gy·W + gh·A,  gA = ghᵀ·x,  gB = gyᵀ·h,  gh = scale·gy·B
struct LoraLinearBackward {
  static constexpr std::string_view name = "lora_linear_backward";
  LoraLinear op;
  Need need;
  Tensor h;

  std::array<std::optional<Meta>, 3> infer(const Meta& x, const Meta& a, const Meta& b, const Meta& gy) const {
    require<ShapeError>(gy.shape == Shape({x.shape[0], b.shape[0]}), "lora_linear_backward: gy {} for x {} and B {}",
                        gy.shape, x.shape, b.shape);
    auto wanted = [&](int i, const Meta& m) { return need[i] ? std::optional(m) : std::nullopt; };
    return {wanted(0, x), wanted(1, a), wanted(2, b)};
  }
  void forward(const Tensor& x, const Tensor& a, const Tensor& b, const Tensor& gy, Tensor& gx, Tensor& ga,
               Tensor& gb) const {
    kernels::lora_linear_backward(x, *op.w, a, b, h, gy, gx, ga, gb, op.scale);
  }
  Tensors composite(const Tensor& x, const Tensor& a, const Tensor& b, const Tensor& gy) const {
    return composite_backward(op, gy, need, x, a, b);
  }
};

inline Tensors LoraLinear::vjp(const Saved& s, const Tensor& gy, Need need) const {
  const auto g = apply(LoraLinearBackward{*this, need, s.output(1)}, s.input(0), s.input(1), s.input(2), gy);
  return {g[0], g[1], g[2]};
}

// y = x·Wᵀ + bias + D(C(x)·Mᵀ).  x (N, k), M (r̂, r̂) → (N, d).   Jiang et al. 2024, "MoRA"
// C(x) is cheap and as large as x: the backward computes it again.
struct MoraLinear {
  static constexpr std::string_view name = "mora_linear";
  static constexpr Saves saves{.inputs = 0b11};
  FrozenWeightPtr w;
  MoraOperator op;

  Meta infer(const Meta& x, const Meta& m) const {
    check_rows(x, op.in, name);
    require<ShapeError>(op.in == w->in() && op.out == w->out() && m.shape == Shape({op.rank, op.rank}),
                        "mora_linear: M {} with r̂ = {} on W ({}, {})", m.shape, op.rank, w->out(), w->in());
    require<DTypeError>(is_floating(x.dtype) && m.dtype == x.dtype, "mora_linear: x {}, M {}", name_of(x.dtype),
                        name_of(m.dtype));
    return {{x.shape[0], op.out}, x.dtype, x.device};
  }
  void forward(const Tensor& x, const Tensor& m, Tensor& y) const { kernels::mora_linear(x, *w, m, y, op); }
  Tensor composite(const Tensor& x, const Tensor& m) const {
    const Tensor s = apply(MoraCompress{op}, x);
    const Tensor z = mora::matmul(mora::reshape(s, {-1, op.rank}), m, false, true);
    return linear(x, w) + apply(MoraDecompress{op}, mora::reshape(z, s.shape()));
  }
  Tensors vjp(const Saved& s, const Tensor& gy, Need need) const;
};

// gx = gy·W + Cᵀ(gz·M),  gM = gzᵀ·C(x),  gz = Dᵀ(gy)
struct MoraLinearBackward {
  static constexpr std::string_view name = "mora_linear_backward";
  MoraLinear op;
  Need need;

  std::array<std::optional<Meta>, 2> infer(const Meta& x, const Meta& m, const Meta& gy) const {
    require<ShapeError>(gy.shape == Shape({x.shape[0], op.op.out}), "mora_linear_backward: gy {} for x {}", gy.shape,
                        x.shape);
    return {need[0] ? std::optional(x) : std::nullopt, need[1] ? std::optional(m) : std::nullopt};
  }
  void forward(const Tensor& x, const Tensor& m, const Tensor& gy, Tensor& gx, Tensor& gm) const {
    kernels::mora_linear_backward(x, *op.w, m, gy, gx, gm, op.op);
  }
  Tensors composite(const Tensor& x, const Tensor& m, const Tensor& gy) const {
    return composite_backward(op, gy, need, x, m);
  }
};

inline Tensors MoraLinear::vjp(const Saved& s, const Tensor& gy, Need need) const {
  const auto g = apply(MoraLinearBackward{*this, need}, s.input(0), s.input(1), gy);
  return {g[0], g[1]};
}

}  // namespace ops

// y = x·Wᵀ + bias + scale·(x·Aᵀ)·Bᵀ
inline Tensor lora_linear(const Tensor& x, const ops::FrozenWeightPtr& w, const Tensor& a, const Tensor& b,
                          double scale) {
  return apply(ops::LoraLinear{w, scale}, x, a, b)[0];
}
// y = x·Wᵀ + bias + D(C(x)·Mᵀ)
inline Tensor mora_linear(const Tensor& x, const ops::FrozenWeightPtr& w, const Tensor& m,
                          const kernels::MoraOperator& op) {
  return apply(ops::MoraLinear{w, op}, x, m);
}

}  // namespace mora
