// Sums and maxima over dimensions.
#pragma once

#include "autograd/indices.h"
#include "autograd/op.h"

namespace mora {

namespace ops {

struct Sum {  // over the dimensions whose bit is set; they stay, with size 1
  static constexpr std::string_view name = "sum";
  uint32_t dims = 0;
  Meta infer(const Meta& x) const;
  void forward(const Tensor& x, Tensor& y) const;
  Tensors vjp(const Saved& s, const Tensor& gy, Need need) const;
};

struct Amax {  // as Sum; the gradient is shared evenly by equal maxima
  static constexpr std::string_view name = "amax";
  static constexpr Saves saves{.inputs = 0b1, .outputs = 0b1};
  uint32_t dims = 0;
  Meta infer(const Meta& x) const;
  void forward(const Tensor& x, Tensor& y) const;
  Tensors vjp(const Saved& s, const Tensor& gy, Need need) const;
};

struct Argmax {  // index of the first maximum of each row: x (N, d) → i32 (N)
  static constexpr std::string_view name = "argmax";
  using NotDifferentiable = void;
  Meta infer(const Meta& x) const;
  void forward(const Tensor& x, Tensor& y) const;
};

struct SegmentMean {  // y[b] = mean of the rows of sequence b.  x (N, d), offsets i32 (B+1) → (B, d)
  static constexpr std::string_view name = "segment_mean";
  Indices offsets;
  Meta infer(const Meta& x) const;
  void forward(const Tensor& x, Tensor& y) const;
  Tensor composite(const Tensor& x) const;
  Tensors vjp(const Saved& s, const Tensor& gy, Need need) const;
};

struct SegmentMeanAdjoint {  // gx[n] = gy[b]/length(b).  gy (B, d) → (rows, d)
  static constexpr std::string_view name = "segment_mean_adjoint";
  Indices offsets;
  int64_t rows = 0;
  Meta infer(const Meta& gy) const;
  void forward(const Tensor& gy, Tensor& gx) const;
  Tensors vjp(const Saved& s, const Tensor& g, Need need) const;
};

}  // namespace ops

// Sum over `dims` (negative count from the end); all of them when empty. keep: the dimensions stay with size 1.
Tensor sum(const Tensor& x, std::initializer_list<int> dims = {}, bool keep = false);
Tensor mean(const Tensor& x, std::initializer_list<int> dims = {}, bool keep = false);
Tensor amax(const Tensor& x, std::initializer_list<int> dims = {}, bool keep = false);
// Sums x down to a shape that broadcasts to x's: the gradient of broadcasting.
Tensor sum_to(const Tensor& x, const Shape& shape);
// log Σ exp x over the last dimension, which stays with size 1.
Tensor logsumexp(const Tensor& x);
Tensor argmax(const Tensor& x);
Tensor segment_mean(const Tensor& x, const Indices& offsets);

}  // namespace mora
