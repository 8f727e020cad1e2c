// Which experts each token uses, from the probabilities that a router gives them (mora/experts/router.h).
#pragma once

#include "kernels/dispatch.h"
#include "kernels/expert_choice.h"

namespace mora::kernels {

// p (R, E), margin (R, E) or undefined, reached (R) or undefined → chosen (R, E): 1 or 0. Contiguous, of one dtype: f32
// or f64. A row whose `reached` is 0 chooses none. Another takes the experts whose margin lets them in, and where there
// is none or no margin, the likeliest as `choice` says; of equals the first comes first, and NaN last.
MORA_KERNEL(choose_experts, const Tensor& p, const Tensor& margin, const Tensor& reached, Tensor& chosen,
            const ExpertChoice& choice);
// What they ask of their tensors on every device.
void check_choice(const Tensor& p, const Tensor& margin, const Tensor& reached, const Tensor& chosen);

}  // namespace mora::kernels
