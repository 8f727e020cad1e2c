#include "kernels/cuda/rotary.h"

#include "kernels/attention.h"
#include "kernels/checks.h"
#include "kernels/cuda/index_error_words.h"
#include "kernels/cuda/tensor_view.h"

namespace mora::kernels::cuda {

void rotary(const Tensor& x, const Tensor& positions, const Tensor& cos, const Tensor& sin, Tensor& y, bool inverse) {
  require_floating("rotary", x);
  check_rotary(x, positions, cos, sin, y);
  require_device_of(x, "rotary", positions, cos, sin, y);
  const DType arithmetic = compute_dtype(x.dtype());
  RotaryView v{strided_view(x),
               view(positions, DType::i32),
               view(cos, arithmetic),
               view(sin, arithmetic),
               output(y, x.dtype()),
               x.dim(1),
               x.dim(2) / 2,
               x.strides()[0],
               x.strides()[1],
               cos.dim(0),
               inverse,
               {}};
  Tensor errors = index_error_words(x.device());
  v.errors = output(errors);
  launch_rotary(v);
}

}  // namespace mora::kernels::cuda
