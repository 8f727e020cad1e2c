// The seam between models and adapters: what a model calls where the paper says W·x + b.
#pragma once

#include <algorithm>
#include <array>
#include <memory>
#include <optional>

#include "autograd/ops/adapted_linear.h"
#include "autograd/ops/embedding.h"
#include "autograd/ops/matmul.h"
#include "autograd/ops/shape.h"
#include "mora/models/context.h"

namespace mora {

// x (N, in) → (N, out), or of an embedding ids i32 (N) → (N, d). A model owns its linears and embeddings through
// LinearSlot; MoRAModel replaces what a slot holds.
class Linear {
 public:
  virtual ~Linear() = default;
  virtual Tensor forward(const Tensor& x, Context& context) const = 0;
  // The same as a part of the op that linears of one x share, for x of `dtype`; none where it takes more than that.
  virtual std::optional<AdaptedTerm> term(DType, const Context&) const { return {}; }
  // The frozen weight underneath, shared: W (out, in) and a bias that may be undefined.
  virtual const std::shared_ptr<const kernels::FrozenWeight>& frozen() const = 0;
  // Whether nothing is added to the frozen weight.
  virtual bool is_plain() const { return false; }
  // Whether x must be of all tokens of a batch, also where only some rows of y are read.
  virtual bool needs_all_tokens() const { return false; }

  int64_t in() const { return frozen()->in(); }
  int64_t out() const { return frozen()->out(); }
};

using LinearSlot = std::unique_ptr<Linear>;

// A weight that is loaded whenever it is asked for.
struct WeightInFile {
  Meta meta;
  std::function<Tensor()> load;
};

// y = x·Wᵀ + b
class FrozenLinear final : public Linear {
 public:
  FrozenLinear(Tensor weight, Tensor bias)
      : weight_(std::make_shared<kernels::FrozenWeight>(std::move(weight), std::move(bias))) {}
  FrozenLinear(WeightInFile weight, Tensor bias)
      : weight_(std::make_shared<kernels::FrozenWeight>(weight.meta, std::move(weight.load), std::move(bias))) {}
  Tensor forward(const Tensor& x, Context&) const override { return linear(x, weight_); }
  std::optional<AdaptedTerm> term(DType, const Context&) const override { return plain_term(weight_); }
  const std::shared_ptr<const kernels::FrozenWeight>& frozen() const override { return weight_; }
  bool is_plain() const override { return true; }

 private:
  std::shared_ptr<const kernels::FrozenWeight> weight_;
};

// The outputs of linears that read the same x, in one pass over it where each has a term. Plain ones alone take it
// where no gradient is recorded: the pass would keep x for the backward.
template <class... Slots>
std::array<Tensor, sizeof...(Slots)> forward_all(const Tensor& x, Context& context, const Slots&... linears) {
  constexpr size_t count = sizeof...(Slots);
  if (const bool plain = (linears->is_plain() && ...); plain && !grad_enabled()) {
    std::array ys{Tensor::empty({x.dim(0), linears->out()}, x.dtype(), x.device())...};
    const kernels::FrozenWeight* const weights[]{linears->frozen().get()...};
    kernels::linears(x, weights, ys);
    return ys;
  } else if (!plain) {
    std::array<AdaptedTerm, count> terms;
    size_t found = 0;
    const auto add = [&](const Linear& linear) {
      auto term = linear.term(x.dtype(), context);
      if (term) terms[found++] = *std::move(term);
      return term.has_value();
    };
    if ((add(*linears) && ...)) {
      Tensors ys = adapted_linears(x, terms);
      std::array<Tensor, count> all;
      std::ranges::move(ys, all.begin());
      return all;
    }
  }
  return {linears->forward(x, context)...};
}

// An embedding is the linear of one-hot rows: in is the size of the vocabulary V, out the width d, and W (d, V) the
// table (V, d) seen transposed. Its rows at `ids`, i32 (N), in `dtype`: (N, d).
inline Tensor embedding_rows(const kernels::FrozenWeight& w, const Tensor& ids, DType dtype) {
  const Tensor weight = ids.device() == cpu ? w.weight() : w.resident(ids.device(), w.meta().dtype).weight;
  return gather_rows(transpose(weight), ids, dtype);
}

class FrozenEmbedding final : public Linear {
 public:
  // `dtype` is that of activations.
  FrozenEmbedding(const Tensor& table, DType dtype)
      : weight_(std::make_shared<kernels::FrozenWeight>(transpose(table), Tensor())), dtype_(dtype) {}
  Tensor forward(const Tensor& ids, Context&) const override { return embedding_rows(*weight_, ids, dtype_); }
  const std::shared_ptr<const kernels::FrozenWeight>& frozen() const override { return weight_; }

 private:
  std::shared_ptr<const kernels::FrozenWeight> weight_;
  DType dtype_;
};

}  // namespace mora
