#include "kernels/routing.h"

#include "kernels/cuda/routing.h"
#include "kernels/cuda/tensor_view.h"

namespace mora::kernels::cuda {

void choose_experts(const Tensor& p, const Tensor& margin, const Tensor& reached, Tensor& chosen,
                    const ExpertChoice& choice) {
  check_choice(p, margin, reached, chosen);
  require_device_of(p, "choose_experts", margin, reached, chosen);
  if (p.numel() > 0) launch_choose_experts(view(p), view(margin), view(reached), output(chosen), p.dim(1), choice);
}

}  // namespace mora::kernels::cuda
