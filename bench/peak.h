// What the processor could do at most, measured now, to set a benchmark's time against.
#pragma once

namespace mora::bench {

// Billions of f32 fused multiply-adds a second on `threads` threads: independent sums that stay in registers.
double peak_fma(int threads);

}  // namespace mora::bench
