#include "kernels/softmax.h"

#include "kernels/checks.h"
#include "kernels/cuda/index_error_words.h"
#include "kernels/cuda/softmax.h"
#include "kernels/cuda/tensor_view.h"

namespace mora::kernels::cuda {
namespace {

void run(std::string_view op, const Tensor& x, Tensor& y, bool logarithm) {
  require_floating(op, x);
  check_softmax(op, x, {&y});
  require_device_of(x, op, y);
  launch_softmax(view(x), output(y, x.dtype()), x.dim(1), logarithm);
}

void run_backward(std::string_view op, const Tensor& y, const Tensor& gy, Tensor& gx, bool logarithm) {
  require_floating(op, y);
  check_softmax(op, y, {&gy, &gx});
  require_device_of(y, op, gy, gx);
  launch_softmax_backward(view(y), view(gy, y.dtype()), output(gx, y.dtype()), y.dim(1), logarithm);
}

}  // namespace

void softmax(const Tensor& x, Tensor& y) { run("softmax", x, y, false); }
void log_softmax(const Tensor& x, Tensor& y) { run("log_softmax", x, y, true); }
void softmax_backward(const Tensor& y, const Tensor& gy, Tensor& gx) {
  run_backward("softmax_backward", y, gy, gx, false);
}
void log_softmax_backward(const Tensor& y, const Tensor& gy, Tensor& gx) {
  run_backward("log_softmax_backward", y, gy, gx, true);
}

void cross_entropy(const Tensor& x, const Tensor& labels, Tensor& loss, Tensor& lse) {
  require_floating("cross_entropy", x);
  check_softmax("cross_entropy", x, {&x});
  check_cross_entropy("cross_entropy", x, labels, loss, lse);
  require_device_of(x, "cross_entropy", labels, loss, lse);
  const DType arithmetic = compute_dtype(x.dtype());
  const View scores = view(x), label = view(labels, DType::i32), to = output(loss, arithmetic),
             to_lse = output(lse, arithmetic);
  Tensor errors = index_error_words(x.device());
  launch_cross_entropy(scores, label, to, to_lse, x.dim(1), output(errors));
}

void cross_entropy_backward(const Tensor& x, const Tensor& labels, const Tensor& lse, const Tensor& gloss, Tensor& gx) {
  require_floating("cross_entropy_backward", x);
  check_softmax("cross_entropy_backward", x, {&gx});
  check_cross_entropy("cross_entropy_backward", x, labels, gloss, lse);
  require_device_of(x, "cross_entropy_backward", labels, lse, gloss, gx);
  const DType arithmetic = compute_dtype(x.dtype());
  const View scores = view(x), label = view(labels, DType::i32), row_lse = view(lse, arithmetic),
             row_gloss = view(gloss, arithmetic), to = output(gx, x.dtype());
  Tensor errors = index_error_words(x.device());
  launch_cross_entropy_backward(scores, label, row_lse, row_gloss, to, x.dim(1), output(errors));
}

}  // namespace mora::kernels::cuda
