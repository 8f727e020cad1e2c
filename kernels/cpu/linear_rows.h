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
  // y = x·Wᵀ + c, or backward y = x·W, for a caller that cuts the rows into `pieces` of nearly equal size. Where those
  // are too few or too small for the threads, and for a dtype that is not multiplied as it is, y is there at once.
  LinearRows(const Tensor& x, const FrozenWeight& w, Tensor& y, Direction direction, int64_t pieces);

  // Rows [begin, end) of y, by the calling thread.
  void operator()(int64_t begin, int64_t end) const;

 private:
  const PackedMatrix* matrix_ = nullptr;  // null: y is there
  const std::byte* x_ = nullptr;
  std::byte* y_ = nullptr;
  int64_t x_row_ = 0, y_row_ = 0;  // bytes
};

constexpr int64_t chunk_rows = 240;  // of x and y; fewer, and the product takes longer than the caches save (measured)

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

// Rows [begin, end) of a product, through which one thread goes in short steps: they are computed a chunk at a time,
// the last almost two.
class RowsAhead {
 public:
  RowsAhead(const LinearRows& product, int64_t begin, int64_t end) : product_(product), done_(begin), end_(end) {}
  // The rows before `last` are there at the return.
  void reach(int64_t last) {
    while (done_ < last) {
      const int64_t next = end_ - done_ < 2 * chunk_rows ? end_ : done_ + chunk_rows;
      product_(done_, next);
      done_ = next;
    }
  }

 private:
  const LinearRows& product_;
  int64_t done_;
  const int64_t end_;
};

}  // namespace mora::kernels::cpu
