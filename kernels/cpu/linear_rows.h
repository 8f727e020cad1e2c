// A product with a frozen weight inside the kernels of adapted linears: a thread computes the rows it works on, a chunk
// at a time, and adds to them while they are in its caches.
#pragma once

#include <algorithm>

#include "engine/parallel.h"
#include "kernels/cpu/onednn.h"
#include "kernels/matmul.h"

namespace mora::kernels::cpu {

class LinearRows {
 public:
  enum class Direction { forward, backward };

  // None: y is left as it is.
  LinearRows() = default;
  // y = x·Wᵀ + c, or backward y = [y +] x·W, for a caller that cuts the rows into `pieces` of nearly equal size. Where
  // those are too few or too small for the threads, and for a dtype that is not multiplied as it is, y is there at
  // once.
  LinearRows(const Tensor& x, const FrozenWeight& w, Tensor& y, Direction direction, int64_t pieces,
             bool accumulate = false);

  // Rows [begin, end) of y, by the calling thread.
  void operator()(int64_t begin, int64_t end) const;

 private:
  const PackedMatrix* matrix_ = nullptr;  // null: y is there
  const std::byte* x_ = nullptr;
  std::byte* y_ = nullptr;
  int64_t x_row_ = 0, y_row_ = 0;  // bytes
  bool accumulate_ = false;
};

// The unit in which n rows are divided, whatever the threads: that of products, but few rows, which two threads do not
// multiply apart, are to be divided evenly.
inline int64_t unit_of_rows(int64_t n) { return n < 2 * least_rows_alone ? 1 : row_unit; }

// Calls f(begin, end) for the rows of each thread; `grain` is in rows.
template <class F>
void parallel_for_rows(int64_t n, int64_t grain, F f) {
  const int64_t unit = unit_of_rows(n);
  const auto units = [=](int64_t rows) { return (rows + unit - 1) / unit; };
  parallel_for(units(n), units(grain), [&](int64_t begin, int64_t end) { f(begin * unit, std::min(n, end * unit)); });
}

// Where part i of n rows begins, of `parts` nearly equal ones.
inline int64_t part_begin(int64_t n, int64_t i, int64_t parts) {
  const int64_t unit = unit_of_rows(n), units = (n + unit - 1) / unit;
  return std::min(n, units * i / parts * unit);
}

}  // namespace mora::kernels::cpu
