// Ops that move or re-view elements.
#pragma once

#include "autograd/op.h"

namespace mora {

namespace ops {

struct Alias {  // y = x: the same storage under a node of its own
  static constexpr std::string_view name = "alias";
  static constexpr bool strided = true;
  Meta infer(const Meta& x) const { return x; }
  Tensor view(const Tensor& x) const { return x.detach(); }
  Tensors vjp(const Saved& s, const Tensor& gy, Need need) const;
};

struct Contiguous {  // the same values, row-major
  static constexpr std::string_view name = "contiguous";
  static constexpr bool strided = true;
  Meta infer(const Meta& x) const { return x; }
  void forward(const Tensor& x, Tensor& y) const;
  Tensors vjp(const Saved& s, const Tensor& gy, Need need) const;
};

struct Reshape {  // the same elements in row-major order; a view of a contiguous input
  static constexpr std::string_view name = "reshape";
  Shape shape;
  Meta infer(const Meta& x) const;
  Tensor view(const Tensor& x) const;
  Tensors vjp(const Saved& s, const Tensor& gy, Need need) const;
};

struct Permute {  // y[i_order…] = x[i…]: dimension j of y is dimension order[j] of x
  static constexpr std::string_view name = "permute";
  static constexpr bool strided = true;
  Shape order;
  Meta infer(const Meta& x) const;
  Tensor view(const Tensor& x) const;
  Tensors vjp(const Saved& s, const Tensor& gy, Need need) const;
};

struct Expand {  // broadcasting to a larger shape, stride 0 where stretched
  static constexpr std::string_view name = "expand";
  static constexpr bool strided = true;
  Shape shape;
  Meta infer(const Meta& x) const;
  Tensor view(const Tensor& x) const;
  Tensors vjp(const Saved& s, const Tensor& gy, Need need) const;
};

struct Slice {  // `length` entries of dimension `dim` from `start`
  static constexpr std::string_view name = "slice";
  static constexpr bool strided = true;
  int dim = 0;
  int64_t start = 0, length = 0;
  Meta infer(const Meta& x) const;
  Tensor view(const Tensor& x) const;
  Tensors vjp(const Saved& s, const Tensor& gy, Need need) const;
};

struct Embed {  // the adjoint of Slice: zeros with x at `start` of dimension `dim`, which becomes `length` long
  static constexpr std::string_view name = "embed";
  static constexpr bool strided = true;
  int dim = 0;
  int64_t start = 0, length = 0;
  Meta infer(const Meta& x) const;
  void forward(const Tensor& x, Tensor& y) const;
  Tensors vjp(const Saved& s, const Tensor& gy, Need need) const;
};

struct Concat {  // inputs one after the other along `dim`
  static constexpr std::string_view name = "concat";
  static constexpr bool strided = true;
  int dim = 0;
  Meta infer(std::span<const Meta> x) const;
  void forward(std::span<const Tensor> x, Tensor& y) const;
  Tensors vjp(const Saved& s, const Tensor& gy, Need need) const;
};

struct Cast {  // another floating dtype, rounded to nearest even
  static constexpr std::string_view name = "cast";
  static constexpr bool strided = true;
  DType dtype = DType::f32;
  Meta infer(const Meta& x) const;
  void forward(const Tensor& x, Tensor& y) const;
  Tensors vjp(const Saved& s, const Tensor& gy, Need need) const;
};

}  // namespace ops

Tensor alias(const Tensor& x);
Tensor contiguous(const Tensor& x);                   // x itself where it is contiguous
Tensor reshape(const Tensor& x, const Shape& shape);  // one dimension may be −1
Tensor permute(const Tensor& x, const Shape& order);
Tensor transpose(const Tensor& x, int i = -2, int j = -1);
Tensor expand(const Tensor& x, const Shape& shape);
Tensor slice(const Tensor& x, int dim, int64_t start, int64_t length);
Tensor embed(const Tensor& x, int dim, int64_t start, int64_t length);
Tensor concat(std::span<const Tensor> x, int dim);
Tensor cast(const Tensor& x, DType dtype);  // x itself where it has that dtype

}  // namespace mora
