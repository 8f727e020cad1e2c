#include "optim/clip.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/optimizer.h"

namespace mora {

double clip_grad_norm(std::span<Tensor> gradients, double max_norm) {
  std::vector<Tensor> defined;
  std::copy_if(gradients.begin(), gradients.end(), std::back_inserter(defined),
               [](const Tensor& g) { return g.defined(); });
  const double norm = kernels::global_norm(defined);
  if (!std::isfinite(norm)) return norm;
  if (const double factor = max_norm / (norm + 1e-6); factor < 1) kernels::scale_all(defined, factor);
  return norm;
}

}  // namespace mora
