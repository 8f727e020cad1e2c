// What a card can do at most, measured when asked, once for each run of the program: the driver's own copy, and the
// library's own product of large matrices.
#pragma once

#include "bench/bench.h"

namespace mora::bench {

// Bytes a second, read and written, of a copy from one place of the card to another.
double copy_bandwidth(const Inputs& in);
// Floating-point operations a second of a product of square matrices of `dtype`.
double product_rate(const Inputs& in, DType dtype);

}  // namespace mora::bench
