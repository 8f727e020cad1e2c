// Launches of kernels/cuda/routing.cu.
#pragma once

#include "kernels/cuda/view.h"
#include "kernels/expert_choice.h"

namespace mora::kernels::cuda {

// As kernels::choose_experts; margin and reached may be absent.
void launch_choose_experts(View p, View margin, View reached, View chosen, int64_t experts, ExpertChoice choice);

}  // namespace mora::kernels::cuda
