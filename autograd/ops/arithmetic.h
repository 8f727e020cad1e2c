// Element-wise arithmetic with numpy broadcasting. Both operands of one floating dtype; gradients are summed back to
// each operand's shape.
#pragma once

#include "autograd/op.h"
#include "kernels/binary.h"

namespace mora {

namespace ops {

struct Add {  // y = a + b
  static constexpr std::string_view name = "add";
  static constexpr bool strided = true;
  Meta infer(const Meta& a, const Meta& b) const;
  void forward(const Tensor& a, const Tensor& b, Tensor& y) const;
  Tensors vjp(const Saved& s, const Tensor& gy, Need need) const;
};

struct Sub {  // y = a − b
  static constexpr std::string_view name = "sub";
  static constexpr bool strided = true;
  Meta infer(const Meta& a, const Meta& b) const;
  void forward(const Tensor& a, const Tensor& b, Tensor& y) const;
  Tensors vjp(const Saved& s, const Tensor& gy, Need need) const;
};

struct Mul {  // y = a · b
  static constexpr std::string_view name = "mul";
  static constexpr bool strided = true;
  static constexpr Saves saves{.inputs = 0b11};
  Meta infer(const Meta& a, const Meta& b) const;
  void forward(const Tensor& a, const Tensor& b, Tensor& y) const;
  Tensors vjp(const Saved& s, const Tensor& gy, Need need) const;
};

struct Div {  // y = a / b
  static constexpr std::string_view name = "div";
  static constexpr bool strided = true;
  static constexpr Saves saves{.inputs = 0b10, .outputs = 0b1};
  Meta infer(const Meta& a, const Meta& b) const;
  void forward(const Tensor& a, const Tensor& b, Tensor& y) const;
  Tensors vjp(const Saved& s, const Tensor& gy, Need need) const;
};

struct Maximum {  // y = max(a, b); the gradient goes to the larger, to a where they are equal
  static constexpr std::string_view name = "maximum";
  static constexpr bool strided = true;
  static constexpr Saves saves{.inputs = 0b11};
  Meta infer(const Meta& a, const Meta& b) const;
  void forward(const Tensor& a, const Tensor& b, Tensor& y) const;
  Tensors vjp(const Saved& s, const Tensor& gy, Need need) const;
};

struct Where {  // y = condition ? a : b; condition boolean
  static constexpr std::string_view name = "where";
  static constexpr bool strided = true;
  static constexpr Saves saves{.inputs = 0b001};
  Meta infer(const Meta& condition, const Meta& a, const Meta& b) const;
  void forward(const Tensor& condition, const Tensor& a, const Tensor& b, Tensor& y) const;
  Tensors vjp(const Saved& s, const Tensor& gy, Need need) const;
};

struct Affine {  // y = scale·x + shift, with constants
  static constexpr std::string_view name = "affine";
  double scale = 1, shift = 0;
  Meta infer(const Meta& x) const;
  void forward(const Tensor& x, Tensor& y) const;
  Tensors vjp(const Saved& s, const Tensor& gy, Need need) const;
};

struct Power {  // y = x^exponent, with a constant exponent
  static constexpr std::string_view name = "power";
  static constexpr Saves saves{.inputs = 0b1};
  double exponent = 1;
  Meta infer(const Meta& x) const;
  void forward(const Tensor& x, Tensor& y) const;
  Tensors vjp(const Saved& s, const Tensor& gy, Need need) const;
};

struct Clamp {  // y = min(max(x, low), high); the gradient is 0 outside
  static constexpr std::string_view name = "clamp";
  static constexpr Saves saves{.inputs = 0b1};
  double low = 0, high = 0;
  Meta infer(const Meta& x) const;
  void forward(const Tensor& x, Tensor& y) const;
  Tensors vjp(const Saved& s, const Tensor& gy, Need need) const;
};

struct Compare {  // y boolean
  static constexpr std::string_view name = "compare";
  static constexpr bool strided = true;
  using NotDifferentiable = void;
  kernels::Compare f = kernels::Compare::equal;
  Meta infer(const Meta& a, const Meta& b) const;
  void forward(const Tensor& a, const Tensor& b, Tensor& y) const;
};

}  // namespace ops

Tensor add(const Tensor& a, const Tensor& b);
Tensor sub(const Tensor& a, const Tensor& b);
Tensor mul(const Tensor& a, const Tensor& b);
Tensor div(const Tensor& a, const Tensor& b);
Tensor maximum(const Tensor& a, const Tensor& b);
Tensor where(const Tensor& condition, const Tensor& a, const Tensor& b);
Tensor affine(const Tensor& x, double scale, double shift = 0);
Tensor power(const Tensor& x, double exponent);
Tensor clamp(const Tensor& x, double low, double high);
Tensor compare(const Tensor& a, const Tensor& b, kernels::Compare f);
// A constant of x's dtype and device with the given shape.
Tensor full_like(const Tensor& x, double value, const Shape& shape = {});

inline Tensor operator+(const Tensor& a, const Tensor& b) { return add(a, b); }
inline Tensor operator-(const Tensor& a, const Tensor& b) { return sub(a, b); }
inline Tensor operator*(const Tensor& a, const Tensor& b) { return mul(a, b); }
inline Tensor operator/(const Tensor& a, const Tensor& b) { return div(a, b); }
inline Tensor operator-(const Tensor& x) { return affine(x, -1); }
inline Tensor operator+(const Tensor& x, double c) { return affine(x, 1, c); }
inline Tensor operator-(const Tensor& x, double c) { return affine(x, 1, -c); }
inline Tensor operator*(const Tensor& x, double c) { return affine(x, c); }
inline Tensor operator/(const Tensor& x, double c) { return affine(x, 1 / c); }
inline Tensor operator+(double c, const Tensor& x) { return affine(x, 1, c); }
inline Tensor operator-(double c, const Tensor& x) { return affine(x, -1, c); }
inline Tensor operator*(double c, const Tensor& x) { return affine(x, c); }

}  // namespace mora
