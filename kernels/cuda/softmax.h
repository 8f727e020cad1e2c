// Launches of the kernels of softmax (kernels/cuda/softmax.cu). x, y, gy, gx: contiguous rows of `length`, of one
// floating dtype; labels i32, loss, lse, gloss one number a row, in the arithmetic's dtype. `errors`:
// index_error_words.
#pragma once

#include "kernels/cuda/view.h"

namespace mora::kernels::cuda {

void launch_softmax(View x, View y, int64_t length, bool logarithm);
void launch_softmax_backward(View y, View gy, View gx, int64_t length, bool logarithm);
void launch_cross_entropy(View x, View labels, View loss, View lse, int64_t length, View errors);
void launch_cross_entropy_backward(View x, View labels, View lse, View gloss, View gx, int64_t length, View errors);

}  // namespace mora::kernels::cuda
