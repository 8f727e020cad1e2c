// Cross-entropy of each row with its label, through a frozen head: what a language model is trained on.
#pragma once

#include "autograd/indices.h"
#include "autograd/op.h"
#include "kernels/matmul.h"

namespace mora {

// Which of N rows have a label, and it: those with a negative one are ignored.
struct Labelled {
  explicit Labelled(const Indices& labels);  // (N)
  // Adds the last of the N rows, without a label, until there are `count` rows. Before `to`.
  void fill(int64_t count);
  Labelled to(Device device) const;
  int64_t count() const { return rows.dim(0); }

  int64_t total = 0;    // N
  Tensor rows, labels;  // i32 (K)
};

namespace ops {

// loss[n] = logsumexp(x[n]·Wᵀ) − (x[n]·Wᵀ)[labels[n]]; 0 where the label is negative (ignored).
// x (N, d), W (V, d) frozen → loss (N) f32, f64 for f64.
// Only rows with a label are multiplied, a chunk of them at a time: the (N, V) logits never exist. The gradient of each
// loss, softmax·W − W[label], is computed while its chunk's logits are there.
struct LinearCrossEntropy {
  static constexpr std::string_view name = "linear_cross_entropy";
  static constexpr Saves saves{.inputs = 0b1, .outputs = 0b10};
  static constexpr uint32_t differentiable_outputs = 1;  // the gradients are a hint
  std::shared_ptr<const kernels::FrozenWeight> w;
  Labelled labels;
  bool with_gradients = false;

  // The losses, and the gradients (rows with a label, d) where asked.
  std::array<std::optional<Meta>, 2> infer(const Meta& x) const;
  void forward(const Tensor& x, Tensor& loss, Tensor& gradients) const;
  Tensors composite(const Tensor& x) const;
  Tensors vjp(const Saved& s, const Tensor& gloss, Need need) const;
};

struct LinearCrossEntropyBackward {  // gx[n] = gloss[n]·gradients[n]; 0 where the label is negative
  static constexpr std::string_view name = "linear_cross_entropy_backward";
  LinearCrossEntropy op;
  Tensor gradients;

  Meta infer(const Meta& x, const Meta& gloss) const {
    require<ShapeError>(gloss.shape == Shape{x.shape[0]}, "linear_cross_entropy_backward: x {} with gloss {}", x.shape,
                        gloss.shape);
    return x;
  }
  void forward(const Tensor& x, const Tensor& gloss, Tensor& gx) const;
  Tensor composite(const Tensor& x, const Tensor& gloss) const;
};

}  // namespace ops

// The loss of each row, (N). Throws ShapeError for shapes that do not fit together and for a label ≥ V.
Tensor linear_cross_entropy(const Tensor& x, const std::shared_ptr<const kernels::FrozenWeight>& w,
                            const Labelled& labels);

}  // namespace mora
