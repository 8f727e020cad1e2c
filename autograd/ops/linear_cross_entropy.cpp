#include "autograd/ops/linear_cross_entropy.h"

#include <algorithm>

#include "autograd/ops/arithmetic.h"
#include "autograd/ops/cross_entropy.h"
#include "autograd/ops/embedding.h"
#include "autograd/ops/matmul.h"
#include "autograd/ops/shape.h"
#include "kernels/copy.h"
#include "kernels/softmax.h"

namespace mora {
namespace {

constexpr int64_t kChunkLogits = int64_t{1}
                                 << 24;  // 64 MiB in f32: few enough to be cheap, many enough rows for a GEMM

// Rows of a chunk: a multiple of 64, so that few shapes of the product occur.
int64_t chunk_rows(int64_t vocabulary) {
  return std::clamp<int64_t>(kChunkLogits / std::max<int64_t>(vocabulary, 1) / 64 * 64, 64, 1024);
}

Tensor row_range(const Tensor& x, int64_t begin, int64_t count) {  // a view
  Shape shape = x.shape();
  shape[0] = count;
  return x.alias(shape, x.strides(), x.offset() + begin * x.strides()[0]);
}

Tensor column(const Tensor& x) { return x.alias({x.dim(0), 1}, {1, 1}, x.offset()); }  // (N) → (N, 1)

}  // namespace

Labelled::Labelled(const Indices& all) : total(all.size()) {
  std::vector<int32_t> with, given;
  const auto values = all.values();
  for (size_t n = 0; n < values.size(); ++n) {
    if (values[n] < 0) continue;
    with.push_back(int32_t(n));
    given.push_back(values[n]);
  }
  rows = Tensor::from(with, {int64_t(with.size())});
  labels = Tensor::from(given, rows.shape());
}

void Labelled::fill(int64_t count) {
  const auto old_rows = rows.values<int32_t>(), old_labels = labels.values<int32_t>();
  std::vector<int32_t> with(old_rows.begin(), old_rows.end()), given(old_labels.begin(), old_labels.end());
  with.resize(size_t(count), int32_t(total - 1));
  given.resize(size_t(count), -1);
  rows = Tensor::from(with, {count});
  labels = Tensor::from(given, {count});
}

Labelled Labelled::to(Device device) const {
  Labelled result = *this;
  result.rows = rows.to(device);
  result.labels = labels.to(device);
  return result;
}

namespace ops {

std::array<std::optional<Meta>, 2> LinearCrossEntropy::infer(const Meta& x) const {
  require<DTypeError>(is_floating(x.dtype), "linear_cross_entropy: expected a floating dtype, not {}",
                      name_of(x.dtype));
  require<ShapeError>(x.shape.rank() == 2 && x.shape[1] == w->in() && labels.total == x.shape[0],
                      "linear_cross_entropy: x {}, W {}, {} labels: expected (N, d), (V, d), N", x.shape,
                      w->meta().shape, labels.total);
  const Meta losses{{x.shape[0]}, compute_dtype(x.dtype), x.device};
  if (!with_gradients) return {losses, std::nullopt};
  return {losses, Meta{{labels.count(), x.shape[1]}, x.dtype, x.device}};
}

void LinearCrossEntropy::forward(const Tensor& x, Tensor& loss, Tensor& gradients) const {
  const int64_t step = chunk_rows(w->out());
  const Device device = x.device();
  Tensor losses = Tensor::empty({labels.count()}, loss.dtype(), device);
  for (int64_t begin = 0; begin < labels.count(); begin += step) {
    const int64_t count = std::min(step, labels.count() - begin);
    const Tensor chunk_labels = row_range(labels.labels, begin, count);
    Tensor chunk = Tensor::empty({count, x.dim(1)}, x.dtype(), device);
    Tensor logits = Tensor::empty({count, w->out()}, x.dtype(), device);
    Tensor chunk_losses = row_range(losses, begin, count), lse = Tensor::empty({count}, loss.dtype(), device);
    kernels::gather_rows(x, row_range(labels.rows, begin, count), chunk);
    kernels::linear(chunk, *w, logits);
    kernels::cross_entropy(logits, chunk_labels, chunk_losses, lse);
    if (!gradients.defined()) continue;
    Tensor ones = Tensor::empty({count}, loss.dtype(), device), chunk_gradients = row_range(gradients, begin, count);
    kernels::fill(ones, 1);
    kernels::cross_entropy_backward(logits, chunk_labels, lse, ones, logits);  // softmax − [label], in place
    kernels::linear_backward(logits, *w, chunk_gradients);
  }
  kernels::fill(loss, 0);
  Tensor of_all = column(loss);
  kernels::scatter_add_rows(column(losses), labels.rows, of_all);
}

Tensors LinearCrossEntropy::composite(const Tensor& x) const {
  const Tensor losses = cross_entropy(linear(mora::gather_rows(x, labels.rows), w), labels.labels);
  const Tensor of_all = apply(ScatterRows{labels.rows, labels.total, losses.dtype()}, reshape(losses, {-1, 1}));
  return {reshape(of_all, {labels.total}), Tensor()};
}

Tensors LinearCrossEntropy::vjp(const Saved& s, const Tensor& gloss, Need) const {
  return {apply(LinearCrossEntropyBackward{*this, s.output(1)}, s.input(0), gloss)};
}

void LinearCrossEntropyBackward::forward(const Tensor& x, const Tensor& gloss, Tensor& gx) const {
  const Tensor& rows = op.labels.rows;
  Tensor scale = Tensor::empty({rows.dim(0), 1}, x.dtype(), x.device());
  kernels::gather_rows(column(gloss), rows, scale);
  kernels::fill(gx, 0);
  kernels::scatter_add_rows(gradients * scale, rows, gx);
}

Tensor LinearCrossEntropyBackward::composite(const Tensor& x, const Tensor& gloss) const {
  return composite_backward(op, gloss, Need{1}, x)[0];
}

}  // namespace ops

Tensor linear_cross_entropy(const Tensor& x, const std::shared_ptr<const kernels::FrozenWeight>& w,
                            const Labelled& labels) {
  return apply(ops::LinearCrossEntropy{w, labels, grad_enabled() && requires_grad(x)}, x)[0];
}

}  // namespace mora
