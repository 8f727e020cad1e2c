// Cross-entropy of each row with its label, from logits.
#pragma once

#include <numeric>

#include "autograd/op.h"
#include "autograd/ops/arithmetic.h"
#include "autograd/ops/reduce.h"
#include "autograd/ops/shape.h"
#include "autograd/ops/softmax.h"
#include "kernels/softmax.h"

namespace mora {

namespace ops {

// loss[n] = logsumexp(x[n]) − x[n, labels[n]]; 0 where the label is negative (ignored).  x (N, V), labels i32 (N) →
// loss (N) f32, f64 for f64.
struct CrossEntropy {
  static constexpr std::string_view name = "cross_entropy";
  static constexpr Saves saves{.inputs = 0b1, .outputs = 0b10};
  static constexpr uint32_t differentiable_outputs = 1;  // the log-sum-exp is a hint
  Tensor labels;

  std::array<Meta, 2> infer(const Meta& x) const {
    softmax_meta(x, name);
    require<ShapeError>(x.shape.rank() == 2 && labels.rank() == 1 && labels.dim(0) == x.shape[0],
                        "cross_entropy: logits {} with labels {}", x.shape, labels.shape());
    const Meta row{{x.shape[0]}, compute_dtype(x.dtype), x.device};
    return {row, row};
  }
  void forward(const Tensor& x, Tensor& loss, Tensor& lse) const { kernels::cross_entropy(x, labels, loss, lse); }
  Tensors composite(const Tensor& x) const;
  Tensors vjp(const Saved& s, const Tensor& gloss, Need need) const;
};

struct CrossEntropyBackward {  // gx[n, v] = gloss[n]·(softmax(x[n])_v − [v = labels[n]])
  static constexpr std::string_view name = "cross_entropy_backward";
  Tensor labels, lse;
  Meta infer(const Meta& x, const Meta& gloss) const {
    require<ShapeError>(gloss.shape == Shape{x.shape[0]}, "cross_entropy_backward: x {} with gloss {}", x.shape,
                        gloss.shape);
    return x;
  }
  void forward(const Tensor& x, const Tensor& gloss, Tensor& gx) const {
    kernels::cross_entropy_backward(x, labels, lse, gloss, gx);
  }
  Tensor composite(const Tensor& x, const Tensor& gloss) const {
    return composite_backward(CrossEntropy{labels}, gloss, Need{1}, x)[0];
  }
};

inline Tensors CrossEntropy::composite(const Tensor& x) const {
  // −Σ_v [v = label]·log p_v; no v is a label that is ignored.
  std::vector<int32_t> classes(size_t(x.dim(1)));
  std::iota(classes.begin(), classes.end(), 0);
  const Tensor is_label = compare(mora::reshape(labels, {x.dim(0), 1}),
                                  Tensor::from(classes, {1, x.dim(1)}).to(x.device()), kernels::Compare::equal);
  const Tensor log_p = mora::cast(x - logsumexp(x), compute_dtype(x.dtype()));  // (N, V)
  return {-mora::sum(mora::where(is_label, log_p, full_like(log_p, 0)), {1}), Tensor()};
}

inline Tensors CrossEntropy::vjp(const Saved& s, const Tensor& gloss, Need) const {
  return {apply(CrossEntropyBackward{labels, s.output(1)}, s.input(0), gloss)};
}

}  // namespace ops

// The loss of each row, (N).
inline Tensor cross_entropy(const Tensor& logits, const Tensor& labels) {
  return apply(ops::CrossEntropy{labels}, logits)[0];
}

}  // namespace mora
