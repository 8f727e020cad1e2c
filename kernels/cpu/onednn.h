// Weights packed by oneDNN, once. onednn.cpp is the only file that includes oneDNN; it builds against 2.6 (Debian 12)
// and 3.x.
#pragma once

#include <memory>

#include "kernels/cpu/gemm.h"

namespace mora::kernels::cpu {

// Threads divide the rows of a product in multiples of it, and a thread its own.
inline constexpr int64_t row_unit = 16;
inline constexpr int64_t least_rows_alone = 192;  // with fewer a thread, its product is limited by reading B

// A right factor B (k, n), packed once into the layout oneDNN likes best, with an optional bias c (n): y = x·B + c.
class PackedMatrix {
 public:
  // `b` is contiguous (k, n), or (n, k) with `transposed`; f32 or bf16. `bias` is f32 (n) or undefined, and is kept.
  PackedMatrix(const Tensor& b, bool transposed, const Tensor& bias);
  ~PackedMatrix();
  PackedMatrix(const PackedMatrix&) = delete;
  PackedMatrix& operator=(const PackedMatrix&) = delete;

  // x (rows, k) → y (rows, n) = [y +] x·B + c, both of b's dtype, by all threads.
  void multiply(const void* x, void* y, int64_t rows, bool accumulate = false) const;
  // The same by the calling thread of a parallel region; others may call it at the same time.
  void multiply_alone(const void* x, void* y, int64_t rows, bool accumulate = false) const;
  int64_t bytes() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// Whether products of bf16 run here at all, and faster than in f32: times a small one of each.
bool measure_bf16_is_native();

}  // namespace mora::kernels::cpu
