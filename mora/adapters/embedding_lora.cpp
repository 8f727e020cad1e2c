#include "mora/adapters/embedding_lora.h"

#include "autograd/ops/arithmetic.h"
#include "autograd/ops/matmul.h"
#include "mora/adapters/lora.h"
#include "mora/models/linear.h"

namespace mora {

EmbeddingLoRA::EmbeddingLoRA(const AdapterSpec& spec, int64_t rows, int64_t d, DType activations, uint64_t seed,
                             uint64_t index)
    : EmbeddingLoRA(
          spec, Tensor::zeros({rows, spec.rank}),
          normal_tensor({d, spec.rank}, 1, RandomStream({.seed = seed, .layer = index, .purpose = Purpose::init})),
          activations) {}

EmbeddingLoRA::EmbeddingLoRA(const AdapterSpec& spec, const Tensor& a, const Tensor& b, DType activations)
    : spec_(spec), activations_(activations), a_(leaf(a)), b_(leaf(b)) {
  require<ShapeError>(a.rank() == 2 && b.rank() == 2 && a.dim(1) == b.dim(1), "LoRA: A {} and B {} share no rank",
                      a.shape(), b.shape());
}

Tensor EmbeddingLoRA::update(const Tensor& ids, Context&) const {
  const Tensor h = gather_rows(a_, ids, activations_) * lora_scaling(spec_);  // (N, r)
  return matmul(h, cast(b_, activations_), false, true);                      // (N, d)
}

Tensor EmbeddingLoRA::forward(const Tensor& ids, const FrozenWeightPtr& w, Context& context) const {
  return embedding_rows(*w, ids, activations_) + update(ids, context);
}

Tensor EmbeddingLoRA::merged() const {
  const NoGrad no_grad;
  const Tensor b = cast(b_.detach(), DType::f64) * lora_scaling(spec_);
  return transpose(matmul(cast(a_.detach(), DType::f64), b, false, true));
}

LowRank EmbeddingLoRA::as_low_rank() const {
  const NoGrad no_grad;
  return {contiguous(transpose(a_.detach())), b_.detach(), lora_scaling(spec_)};
}

}  // namespace mora
