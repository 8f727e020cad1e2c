// Matrix products.
#pragma once

#include "autograd/op.h"
#include "kernels/matmul.h"

namespace mora {

namespace ops {

struct Matmul {  // y = op(a)·op(b), 2-D, op = transpose where asked
  static constexpr std::string_view name = "matmul";
  static constexpr Saves saves{.inputs = 0b11};
  bool transpose_a = false, transpose_b = false;

  Meta infer(const Meta& a, const Meta& b) const {
    require<ShapeError>(a.shape.rank() == 2 && b.shape.rank() == 2, "matmul: expected two matrices, not {} and {}",
                        a.shape, b.shape);
    require<DTypeError>(a.dtype == b.dtype && is_floating(a.dtype), "matmul: {} against {}", name_of(a.dtype),
                        name_of(b.dtype));
    const int64_t k = a.shape[transpose_a ? 0 : 1];
    require<ShapeError>(k == b.shape[transpose_b ? 1 : 0], "matmul: {}{} against {}{}", a.shape, transpose_a ? "ᵀ" : "",
                        b.shape, transpose_b ? "ᵀ" : "");
    return {{a.shape[transpose_a ? 1 : 0], b.shape[transpose_b ? 0 : 1]}, a.dtype, a.device};
  }
  void forward(const Tensor& a, const Tensor& b, Tensor& y) const {
    kernels::matmul(a, b, y, {transpose_a, transpose_b, false});
  }

  // y = A·B with A = op(a), B = op(b):  gA = gy·Bᵀ, gB = Aᵀ·gy, each transposed back where its operand was.
  Tensors vjp(const Saved& s, const Tensor& gy, Need need) const {
    Tensor ga, gb;
    if (need[0]) {
      const Tensor b = s.input(1);
      ga = transpose_a ? apply(Matmul{transpose_b, true}, b, gy) : apply(Matmul{false, !transpose_b}, gy, b);
    }
    if (need[1]) {
      const Tensor a = s.input(0);
      gb = transpose_b ? apply(Matmul{true, transpose_a}, gy, a) : apply(Matmul{!transpose_a, false}, a, gy);
    }
    return {ga, gb};
  }
};

// y = x·Wᵀ + b with a frozen W (out, in) that the kernel keeps packed.  x (N, in) → (N, out)
struct FrozenLinear {
  static constexpr std::string_view name = "frozen_linear";
  std::shared_ptr<const kernels::FrozenWeight> w;

  Meta infer(const Meta& x) const {
    require<DTypeError>(is_floating(x.dtype), "frozen_linear: expected a floating dtype, not {}", name_of(x.dtype));
    require<ShapeError>(x.shape.rank() == 2 && x.shape[1] == w->in(), "frozen_linear: x {} against W {}", x.shape,
                        w->meta().shape);
    return {{x.shape[0], w->out()}, x.dtype, x.device};
  }
  void forward(const Tensor& x, Tensor& y) const { kernels::linear(x, *w, y); }
  Tensors vjp(const Saved& s, const Tensor& gy, Need need) const;
};

// gx = gy·W: the adjoint of FrozenLinear.  gy (N, out) → (N, in)
struct FrozenLinearAdjoint {
  static constexpr std::string_view name = "frozen_linear_adjoint";
  std::shared_ptr<const kernels::FrozenWeight> w;

  Meta infer(const Meta& gy) const {
    require<ShapeError>(gy.shape.rank() == 2 && gy.shape[1] == w->out(), "frozen_linear_adjoint: gy {} against W {}",
                        gy.shape, w->meta().shape);
    return {{gy.shape[0], w->in()}, gy.dtype, gy.device};
  }
  void forward(const Tensor& gy, Tensor& gx) const { kernels::linear_backward(gy, *w, gx); }
  Tensors vjp(const Saved&, const Tensor& g, Need) const {  // g (N, in): (gy·W)ᵀ-adjoint is g·Wᵀ, without the bias
    return {apply(Matmul{false, true}, g, matched(w->weight(), g))};
  }

 private:
  static Tensor matched(const Tensor& weight, const Tensor& like);
};

}  // namespace ops

Tensor matmul(const Tensor& a, const Tensor& b, bool transpose_a = false, bool transpose_b = false);
Tensor linear(const Tensor& x, const std::shared_ptr<const kernels::FrozenWeight>& w);

}  // namespace mora
