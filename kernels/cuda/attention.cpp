#include "kernels/attention.h"

#include "kernels/cuda/attention.h"
#include "kernels/cuda/tensor_view.h"
#include "kernels/product_checks.h"

namespace mora::kernels::cuda {
namespace {

HeadsView heads(const Tensor& t) {
  const View all = strided_view(t);
  return {all.data, all.size, t.strides()[0], t.strides()[1]};
}
HeadsView heads_output(Tensor& t) {
  t.mutable_raw();
  return heads(t);
}

// Offsets are read on the device alone: that they rise from 0 to the numbers of tokens is the caller's word.
AttentionView attention_view(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& q_offsets,
                             const Tensor& kv_offsets, const AttentionShape& shape) {
  require_device_of(q, "attention", k, v, q_offsets, kv_offsets);
  require<ShapeError>(q.dim(2) <= largest_head, "attention: heads of {}: on a device at most {}", q.dim(2),
                      largest_head);
  require<ShapeError>(q.dim(0) * q.dim(1) < INT32_MAX && k.dim(0) * k.dim(1) < INT32_MAX && k.dim(1) <= 65535,
                      "attention: q {} and k {} are too large", q.shape(), k.shape());
  return {.dtype = q.dtype(),
          .q_offsets = view(q_offsets),
          .kv_offsets = view(kv_offsets),
          .sequences = int(q_offsets.numel()) - 1,
          .queries = int(q.dim(0)),
          .keys = int(k.dim(0)),
          .heads = int(q.dim(1)),
          .kv_heads = int(k.dim(1)),
          .dim = int(q.dim(2)),
          .scale = shape.scale,
          .causal = shape.causal,
          .window = int(std::min<int64_t>(shape.window, INT32_MAX)),
          .q = heads(q),
          .k = heads(k),
          .v = heads(v)};
}

}  // namespace

void attention(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& q_offsets, const Tensor& kv_offsets,
               Tensor& y, Tensor& lse, const AttentionShape& shape) {
  check_attention(q, k, v, q_offsets, kv_offsets, y, lse, shape);
  require_device_of(q, "attention", y, lse);
  if (q.dim(0) == 0 || q.dim(1) == 0) return;
  launch_attention(attention_view(q, k, v, q_offsets, kv_offsets, shape), heads_output(y), output(lse));
}

void attention_backward(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& q_offsets,
                        const Tensor& kv_offsets, const Tensor& y, const Tensor& lse, const Tensor& gy, Tensor& gq,
                        Tensor& gk, Tensor& gv, const AttentionShape& shape) {
  check_attention(q, k, v, q_offsets, kv_offsets, y, lse, shape);
  check_attention_gradient(q, k, gy, gq, gk, gv);
  require_device_of(q, "attention_backward", y, lse, gy, gq, gk, gv);
  Tensor delta = Tensor::empty(lse.meta());
  launch_attention_backward(attention_view(q, k, v, q_offsets, kv_offsets, shape), {.y = heads(y),
                                                                                    .gy = heads(gy),
                                                                                    .lse = view(lse),
                                                                                    .delta = output(delta),
                                                                                    .gq = heads_output(gq),
                                                                                    .gk = heads_output(gk),
                                                                                    .gv = heads_output(gv)});
}

}  // namespace mora::kernels::cuda
