#include "kernels/attention.h"

#include "engine/cuda.h"
#include "kernels/cuda/attention.h"
#include "kernels/cuda/attention_path.h"
#include "kernels/cuda/cudnn.h"
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

using Run = FunctionRef<void()>;

// Times both, which write the same tensors. Ours has an advantage of a tenth, so that a run chooses as the last one did
// where they are close.
void compare(CudnnAttention& cudnn, Run theirs, Run own, int device) {
  const auto seconds = [&](Run run) {
    const auto three_times = [&] { run(), run(), run(); };
    run();  // to warm up
    return mora::cuda::seconds_of(three_times, device);
  };
  const double of_ours = seconds(own);
  cudnn.speed = seconds(theirs) < 0.9 * of_ours ? CudnnAttention::Speed::faster : CudnnAttention::Speed::slower;
}

// Our own attention, or cuDNN's of the same tensors.
void launch_chosen(const AttentionView& view, const AttentionGradientView& tensors, bool backward, int device,
                   Run own) {
  using Speed = CudnnAttention::Speed;
  const AttentionPath path = attention_path();
  if (path == AttentionPath::own) return own();
  std::string reason = "this program was built without cuDNN";
  CudnnAttention* const cudnn = cudnn_attention ? cudnn_attention(view, tensors, backward, device, reason) : nullptr;
  require<DeviceError>(cudnn || path != AttentionPath::cudnn, "MORA_ATTENTION=cudnn: {}", reason);
  if (!cudnn) return own();
  const auto theirs = [&] { cudnn->run(view, tensors); };
  if (path == AttentionPath::cudnn) return theirs();
  if (cudnn->speed == Speed::unknown && !Graph::recording()) compare(*cudnn, theirs, own, device);
  cudnn->speed == Speed::faster ? theirs() : own();
}

}  // namespace

void attention(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& q_offsets, const Tensor& kv_offsets,
               Tensor& y, Tensor& lse, const AttentionShape& shape) {
  check_attention(q, k, v, q_offsets, kv_offsets, y, lse, shape);
  require_device_of(q, "attention", y, lse);
  if (q.dim(0) == 0 || q.dim(1) == 0) return;
  const AttentionView view = attention_view(q, k, v, q_offsets, kv_offsets, shape);
  const AttentionGradientView tensors{.y = heads_output(y), .lse = output(lse)};
  launch_chosen(view, tensors, false, q.device().index, [&] { launch_attention(view, tensors.y, tensors.lse); });
}

void attention_backward(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& q_offsets,
                        const Tensor& kv_offsets, const Tensor& y, const Tensor& lse, const Tensor& gy, Tensor& gq,
                        Tensor& gk, Tensor& gv, const AttentionShape& shape) {
  check_attention(q, k, v, q_offsets, kv_offsets, y, lse, shape);
  check_attention_gradient(q, k, gy, gq, gk, gv);
  require_device_of(q, "attention_backward", y, lse, gy, gq, gk, gv);
  Tensor delta = Tensor::empty(lse.meta());
  const AttentionView view = attention_view(q, k, v, q_offsets, kv_offsets, shape);
  const AttentionGradientView tensors{.y = heads(y),
                                      .gy = heads(gy),
                                      .lse = cuda::view(lse),
                                      .delta = output(delta),
                                      .gq = heads_output(gq),
                                      .gk = heads_output(gk),
                                      .gv = heads_output(gv)};
  launch_chosen(view, tensors, true, q.device().index, [&] { launch_attention_backward(view, tensors); });
}

}  // namespace mora::kernels::cuda
