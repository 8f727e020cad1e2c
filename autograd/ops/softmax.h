// Softmax and log-softmax over the last dimension.  x (…, V)
#pragma once

#include "autograd/op.h"
#include "autograd/ops/arithmetic.h"
#include "autograd/ops/elementary.h"
#include "autograd/ops/reduce.h"
#include "kernels/softmax.h"

namespace mora {

namespace ops {

inline Meta softmax_meta(const Meta& x, std::string_view op) {
  require<DTypeError>(is_floating(x.dtype), "{}: expected a floating dtype, not {}", op, name_of(x.dtype));
  require<ShapeError>(x.shape.rank() >= 1, "{}: a scalar has no last dimension", op);
  return x;
}

// The last dimension as rows of a matrix: how the kernels see it. A view, without history.
inline Tensor matrix_of(const Tensor& x) {
  const int64_t columns = x.dim(-1);
  int64_t rows = 1;
  for (int i = 0; i + 1 < x.rank(); ++i) rows *= x.dim(i);
  return x.alias({rows, columns}, {columns, 1}, x.offset());
}

struct Softmax {  // y = exp(x − max) / Σ
  static constexpr std::string_view name = "softmax";
  static constexpr Saves saves{.outputs = 0b1};
  Meta infer(const Meta& x) const { return softmax_meta(x, name); }
  void forward(const Tensor& x, Tensor& y) const {
    Tensor rows = matrix_of(y);
    kernels::softmax(matrix_of(x), rows);
  }
  Tensor composite(const Tensor& x) const { return mora::exp(x - logsumexp(x)); }
  Tensors vjp(const Saved& s, const Tensor& gy, Need need) const;
};

struct SoftmaxBackward {  // gx = y·(gy − Σ gy·y), a function of the output y
  static constexpr std::string_view name = "softmax_backward";
  Meta infer(const Meta& y, const Meta& gy) const {
    require<ShapeError>(y == gy, "softmax_backward: y {} against gy {}", y.shape, gy.shape);
    return y;
  }
  void forward(const Tensor& y, const Tensor& gy, Tensor& gx) const {
    Tensor rows = matrix_of(gx);
    kernels::softmax_backward(matrix_of(y), matrix_of(gy), rows);
  }
  Tensor composite(const Tensor& y, const Tensor& gy) const { return y * (gy - mora::sum(gy * y, {-1}, true)); }
};

inline Tensors Softmax::vjp(const Saved& s, const Tensor& gy, Need) const {
  return {apply(SoftmaxBackward{}, s.output(0), gy)};
}

struct LogSoftmax {  // y = x − logsumexp(x)
  static constexpr std::string_view name = "log_softmax";
  static constexpr Saves saves{.outputs = 0b1};
  Meta infer(const Meta& x) const { return softmax_meta(x, name); }
  void forward(const Tensor& x, Tensor& y) const {
    Tensor rows = matrix_of(y);
    kernels::log_softmax(matrix_of(x), rows);
  }
  Tensor composite(const Tensor& x) const { return x - logsumexp(x); }
  Tensors vjp(const Saved& s, const Tensor& gy, Need need) const;
};

struct LogSoftmaxBackward {  // gx = gy − exp(y)·Σ gy, a function of the output y
  static constexpr std::string_view name = "log_softmax_backward";
  Meta infer(const Meta& y, const Meta& gy) const {
    require<ShapeError>(y == gy, "log_softmax_backward: y {} against gy {}", y.shape, gy.shape);
    return y;
  }
  void forward(const Tensor& y, const Tensor& gy, Tensor& gx) const {
    Tensor rows = matrix_of(gx);
    kernels::log_softmax_backward(matrix_of(y), matrix_of(gy), rows);
  }
  Tensor composite(const Tensor& y, const Tensor& gy) const { return gy - mora::exp(y) * mora::sum(gy, {-1}, true); }
};

inline Tensors LogSoftmax::vjp(const Saved& s, const Tensor& gy, Need) const {
  return {apply(LogSoftmaxBackward{}, s.output(0), gy)};
}

}  // namespace ops

inline Tensor softmax(const Tensor& x) { return apply(ops::Softmax{}, x); }
inline Tensor log_softmax(const Tensor& x) { return apply(ops::LogSoftmax{}, x); }

}  // namespace mora
