// What the processor and its memory can do at most, measured when asked, on as many threads as MoRA uses.
#pragma once

#include <cstdint>

#include "engine/dtype.h"

namespace mora::bench {

// Floating-point operations a second (a multiply-add is two): independent sums that stay in registers. bf16: products
// of bf16 pairs into f32 where the processor has them, else as f32. Measured once a dtype.
double peak_flops(DType dtype);

// What is moved between memory, or the cache that holds it, and the registers.
enum class Traffic {
  read,              // x
  forward,           // x → y
  forward_backward,  // x → y, then (x, gy) → gx
  loss,              // x, then x → gx
};
// Bytes moved for tensors of `bytes` each.
int64_t moved(Traffic traffic, int64_t bytes);
// Bytes a second of that traffic with next to no arithmetic: the best of several trials.
double bandwidth(Traffic traffic, int64_t bytes);

}  // namespace mora::bench
