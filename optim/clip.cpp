#include "optim/clip.h"

#include <algorithm>
#include <vector>

#include "kernels/optimizer.h"

namespace mora {

double clip_grad_norm(std::span<Tensor> gradients, double max_norm) {
  std::vector<Tensor> defined;
  std::copy_if(gradients.begin(), gradients.end(), std::back_inserter(defined),
               [](const Tensor& g) { return g.defined(); });
  return kernels::clip(defined, max_norm).norm.item();
}

}  // namespace mora
