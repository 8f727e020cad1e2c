#include "kernels/norm.h"

#include "kernels/checks.h"
#include "kernels/copy.h"
#include "kernels/cuda/norm.h"
#include "kernels/cuda/tensor_view.h"

namespace mora::kernels::cuda {
namespace {

// w as the kernels read it: of x's dtype or the arithmetic's.
Tensor weights_for(std::string_view op, const Tensor& x, const Tensor& w) {
  const DType arithmetic = compute_dtype(x.dtype());
  if (!w.defined() || w.dtype() == x.dtype() || w.dtype() == arithmetic) return w;
  require_floating(op, w);
  require<DTypeError>(w.dtype() != DType::f64, "{}: f64 weights for rows of a smaller dtype", op);
  Tensor wide = Tensor::empty(w.shape(), arithmetic, w.device());
  copy(w, wide);
  return wide;
}

void run(std::string_view op, const Tensor& x, const Tensor& w, const Tensor& b, Tensor& y, Tensor& mean, Tensor& rstd,
         double eps) {
  require_floating(op, x);
  check_norm(op, x, w, b, y, mean, rstd);
  require_device_of(x, op, w, b, y, mean, rstd);
  const Tensor vw = weights_for(op, x, w), vb = weights_for(op, x, b);
  const DType arithmetic = compute_dtype(x.dtype());
  launch_norm(view(x), view(vw), view(vb), output(y, x.dtype()), output(mean, arithmetic), output(rstd, arithmetic),
              eps);
}

void run_backward(std::string_view op, const Tensor& x, const Tensor& w, const Tensor& mean, const Tensor& rstd,
                  const Tensor& gy, Tensor& gx, Tensor& gw, Tensor& gb) {
  require_floating(op, x);
  check_norm_backward(op, x, w, mean, rstd, gy, gx, gw, gb);
  require_device_of(x, op, w, mean, rstd, gy, gx, gw, gb);
  const DType arithmetic = compute_dtype(x.dtype());
  const View x_view = view(x), mean_view = view(mean, arithmetic), rstd_view = view(rstd, arithmetic),
             gy_view = view(gy, x.dtype());
  if (gx.defined()) {
    const Tensor vw = weights_for(op, x, w);
    launch_norm_backward(x_view, view(vw), mean_view, rstd_view, gy_view, output(gx, x.dtype()));
  }
  if (!gw.defined() && !gb.defined()) return;
  for (const Tensor* g : {&gw, &gb}) {
    if (!g->defined()) continue;
    require_floating(op, *g);
    require<DTypeError>(g->dtype() != DType::f64 || arithmetic == DType::f64,
                        "{}: f64 gradients of weights for rows of a smaller dtype", op);
  }
  const Meta parts{Shape({norm_parts(rstd.numel()), w.numel()}), arithmetic, x.device()};
  Tensor parts_w = gw.defined() ? Tensor::empty(parts) : Tensor(),
         parts_b = gb.defined() ? Tensor::empty(parts) : Tensor();
  launch_norm_weight_gradients(x_view, mean_view, rstd_view, gy_view, output(gw), output(gb), output(parts_w),
                               output(parts_b));
}

}  // namespace

void layer_norm(const Tensor& x, const Tensor& w, const Tensor& b, Tensor& y, Tensor& mean, Tensor& rstd, double eps) {
  run("layer_norm", x, w, b, y, mean, rstd, eps);
}

void layer_norm_backward(const Tensor& x, const Tensor& w, const Tensor& mean, const Tensor& rstd, const Tensor& gy,
                         Tensor& gx, Tensor& gw, Tensor& gb) {
  run_backward("layer_norm_backward", x, w, mean, rstd, gy, gx, gw, gb);
}

void rms_norm(const Tensor& x, const Tensor& w, Tensor& y, Tensor& rstd, double eps) {
  Tensor no_mean;
  run("rms_norm", x, w, Tensor(), y, no_mean, rstd, eps);
}

void rms_norm_backward(const Tensor& x, const Tensor& w, const Tensor& rstd, const Tensor& gy, Tensor& gx, Tensor& gw) {
  Tensor no_gradient;
  run_backward("rms_norm_backward", x, w, Tensor(), rstd, gy, gx, gw, no_gradient);
}

}  // namespace mora::kernels::cuda
