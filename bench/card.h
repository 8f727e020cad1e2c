// What a card can do at most, measured when asked, once for each run of the program: the driver's own copy, and the
// library's own product of large matrices. And rows that are set against the processor's or the card's limit.
#pragma once

#include "bench/bench.h"
#include "bench/machine.h"

namespace mora::bench {

// Bytes a second, read and written, of a copy from one place of the card to another.
double copy_bandwidth(const Inputs& in);
// Floating-point operations a second of a product of square matrices of `dtype`.
double product_rate(const Inputs& in, DType dtype);

// Where `in` runs, on the processor (bench/machine.h) or on a card. What traffic of that many bytes is set against, in
// GB/s:
double traffic_limit(const Inputs& in, Traffic traffic, int64_t bytes);
// A row of `flops` multiplications and additions in products of `dtype`, set against its peak.
Row row_of_products(const Inputs& in, std::string name, double flops, double seconds, DType dtype);

}  // namespace mora::bench
