// Layer norm and RMS norm over the last dimension.  x (N, d); w, b (d)
#pragma once

#include "autograd/op.h"
#include "autograd/ops/arithmetic.h"
#include "autograd/ops/elementary.h"
#include "autograd/ops/reduce.h"
#include "autograd/ops/shape.h"
#include "kernels/norm.h"

namespace mora {

namespace ops {

inline Meta norm_statistics(const Meta& x) { return {{x.shape[0]}, compute_dtype(x.dtype), x.device}; }
inline void check_norm(const Meta& x, const Meta& w, std::string_view op) {
  require<ShapeError>(x.shape.rank() == 2 && w.shape.rank() == 1 && w.shape[0] == x.shape[1], "{}: x {} with w {}", op,
                      x.shape, w.shape);
  require<DTypeError>(is_floating(x.dtype) && (w.dtype == x.dtype || w.dtype == DType::f32), "{}: x {} with w {}", op,
                      name_of(x.dtype), name_of(w.dtype));
}

inline void check_norm_gradient(const Meta& x, const Meta& gy, std::string_view op) {
  require<ShapeError>(x == gy, "{}: x {} with gy {}", op, x.shape, gy.shape);
}

// y = (x − mean)·rstd·w + b,  rstd = (var + eps)^−½            Ba et al. 2016, "Layer Normalization"
struct LayerNorm {
  static constexpr std::string_view name = "layer_norm";
  static constexpr Saves saves{.inputs = 0b111, .outputs = 0b110};
  static constexpr bool recomputed = true;
  static constexpr uint32_t differentiable_outputs = 1;
  double eps = 1e-5;

  std::array<Meta, 3> infer(const Meta& x, const Meta& w, const Meta& b) const {
    check_norm(x, w, name);
    check_norm(x, b, name);
    return {x, norm_statistics(x), norm_statistics(x)};
  }
  void forward(const Tensor& x, const Tensor& w, const Tensor& b, Tensor& y, Tensor& mean, Tensor& rstd) const {
    kernels::layer_norm(x, w, b, y, mean, rstd, eps);
  }
  Tensors composite(const Tensor& x, const Tensor& w, const Tensor& b) const {
    const Tensor centred = x - mora::mean(x, {-1}, true);
    const Tensor rstd = mora::rsqrt(mora::mean(mora::square(centred), {-1}, true) + eps);
    return {centred * rstd * mora::cast(w, x.dtype()) + mora::cast(b, x.dtype()), Tensor(), Tensor()};
  }
  Tensors vjp(const Saved& s, const Tensor& gy, Need need) const;
};

struct LayerNormBackward {
  static constexpr std::string_view name = "layer_norm_backward";
  double eps;
  Need need;
  Tensor mean, rstd;

  std::array<std::optional<Meta>, 3> infer(const Meta& x, const Meta& w, const Meta& b, const Meta& gy) const {
    check_norm_gradient(x, gy, name);
    auto wanted = [&](int i, const Meta& m) { return need[i] ? std::optional(m) : std::nullopt; };
    return {wanted(0, x), wanted(1, w), wanted(2, b)};
  }
  void forward(const Tensor& x, const Tensor& w, const Tensor&, const Tensor& gy, Tensor& gx, Tensor& gw,
               Tensor& gb) const {
    kernels::layer_norm_backward(x, w, mean, rstd, gy, gx, gw, gb);
  }
  Tensors composite(const Tensor& x, const Tensor& w, const Tensor& b, const Tensor& gy) const {
    return composite_backward(LayerNorm{eps}, gy, need, x, w, b);
  }
};

inline Tensors LayerNorm::vjp(const Saved& s, const Tensor& gy, Need need) const {
  const auto g = apply(LayerNormBackward{eps, need, s.output(1), s.output(2)}, s.input(0), s.input(1), s.input(2), gy);
  return {g[0], g[1], g[2]};
}

// y = x·rstd·w,  rstd = (mean(x²) + eps)^−½            Zhang & Sennrich 2019, "Root Mean Square Layer Normalization"
struct RmsNorm {
  static constexpr std::string_view name = "rms_norm";
  static constexpr Saves saves{.inputs = 0b11, .outputs = 0b10};
  static constexpr bool recomputed = true;
  static constexpr uint32_t differentiable_outputs = 1;
  double eps = 1e-6;

  std::array<Meta, 2> infer(const Meta& x, const Meta& w) const {
    check_norm(x, w, name);
    return {x, norm_statistics(x)};
  }
  void forward(const Tensor& x, const Tensor& w, Tensor& y, Tensor& rstd) const {
    kernels::rms_norm(x, w, y, rstd, eps);
  }
  Tensors composite(const Tensor& x, const Tensor& w) const {
    return {x * mora::rsqrt(mora::mean(mora::square(x), {-1}, true) + eps) * mora::cast(w, x.dtype()), Tensor()};
  }
  Tensors vjp(const Saved& s, const Tensor& gy, Need need) const;
};

struct RmsNormBackward {
  static constexpr std::string_view name = "rms_norm_backward";
  double eps;
  Need need;
  Tensor rstd;

  std::array<std::optional<Meta>, 2> infer(const Meta& x, const Meta& w, const Meta& gy) const {
    check_norm_gradient(x, gy, name);
    return {need[0] ? std::optional(x) : std::nullopt, need[1] ? std::optional(w) : std::nullopt};
  }
  void forward(const Tensor& x, const Tensor& w, const Tensor& gy, Tensor& gx, Tensor& gw) const {
    kernels::rms_norm_backward(x, w, rstd, gy, gx, gw);
  }
  Tensors composite(const Tensor& x, const Tensor& w, const Tensor& gy) const {
    return composite_backward(RmsNorm{eps}, gy, need, x, w);
  }
};

inline Tensors RmsNorm::vjp(const Saved& s, const Tensor& gy, Need need) const {
  const auto g = apply(RmsNormBackward{eps, need, s.output(1)}, s.input(0), s.input(1), gy);
  return {g[0], g[1]};
}

}  // namespace ops

inline Tensor layer_norm(const Tensor& x, const Tensor& w, const Tensor& b, double eps) {
  return apply(ops::LayerNorm{eps}, x, w, b)[0];
}
inline Tensor rms_norm(const Tensor& x, const Tensor& w, double eps) { return apply(ops::RmsNorm{eps}, x, w)[0]; }

}  // namespace mora
