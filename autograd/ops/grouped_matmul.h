// Products of groups of rows, each group with a matrix of its own: what experts are computed with once the rows of an
// expert lie together. offsets (E+1) rise from 0 to S: rows offsets[e] … offsets[e+1] belong to group e, which may have
// none. The two ops are each other's derivatives.
#pragma once

#include <algorithm>

#include "autograd/op.h"
#include "autograd/ops/shape.h"
#include "kernels/matmul.h"

namespace mora {

using GroupOffsets = std::vector<int64_t>;

namespace ops {

inline void check_groups(const GroupOffsets& offsets, int64_t rows, std::string_view op) {
  require<ShapeError>(!offsets.empty() && offsets.front() == 0 && offsets.back() == rows &&
                          std::is_sorted(offsets.begin(), offsets.end()),
                      "{}: the offsets must rise from 0 to {}", op, rows);
}
// Rows of a contiguous matrix, and a matrix of a contiguous stack: views without history.
inline Tensor rows_of(const Tensor& x, int64_t begin, int64_t end) {
  return x.alias({end - begin, x.dim(1)}, {x.dim(1), 1}, x.offset() + begin * x.dim(1));
}
inline Tensor matrix_of_stack(const Tensor& w, int64_t e) {
  return w.alias({w.dim(1), w.dim(2)}, {w.dim(2), 1}, w.offset() + e * w.dim(1) * w.dim(2));
}

struct GroupedMatmul {  // y[s] = x[s]·op(W_e), op = transpose where asked.  x (S, k), W (E, k, m) → (S, m)
  static constexpr std::string_view name = "grouped_matmul";
  static constexpr Saves saves{.inputs = 0b11};
  GroupOffsets offsets;
  bool transpose = false;  // W (E, m, k)

  Meta infer(const Meta& x, const Meta& w) const {
    require<ShapeError>(x.shape.rank() == 2 && w.shape.rank() == 3 && x.shape[1] == w.shape[transpose ? 2 : 1] &&
                            w.shape[0] + 1 == std::ssize(offsets),
                        "grouped_matmul: x {} against W {}{} in {} groups", x.shape, w.shape, transpose ? "ᵀ" : "",
                        std::ssize(offsets) - 1);
    require<DTypeError>(x.dtype == w.dtype && is_floating(x.dtype), "grouped_matmul: {} against {}", name_of(x.dtype),
                        name_of(w.dtype));
    check_groups(offsets, x.shape[0], name);
    return {{x.shape[0], w.shape[transpose ? 1 : 2]}, x.dtype, x.device};
  }
  void forward(const Tensor& x, const Tensor& w, Tensor& y) const {
    for (int64_t e = 0; e + 1 < std::ssize(offsets); ++e) {
      const int64_t begin = offsets[size_t(e)], end = offsets[size_t(e) + 1];
      if (begin == end) continue;
      Tensor rows = rows_of(y, begin, end);
      kernels::matmul(rows_of(x, begin, end), matrix_of_stack(w, e), rows, {false, transpose, false});
    }
  }
  Tensor composite(const Tensor& x, const Tensor& w) const;
  Tensors vjp(const Saved& s, const Tensor& gy, Need need) const;
};

struct GroupedOuter {  // y_e = Σ_s a[s]ᵀ·b[s] over the rows of group e.  a (S, p), b (S, q) → (E, p, q)
  static constexpr std::string_view name = "grouped_outer";
  static constexpr Saves saves{.inputs = 0b11};
  GroupOffsets offsets;

  Meta infer(const Meta& a, const Meta& b) const {
    require<ShapeError>(a.shape.rank() == 2 && b.shape.rank() == 2 && a.shape[0] == b.shape[0],
                        "grouped_outer: a {} against b {}", a.shape, b.shape);
    require<DTypeError>(a.dtype == b.dtype && is_floating(a.dtype), "grouped_outer: {} against {}", name_of(a.dtype),
                        name_of(b.dtype));
    check_groups(offsets, a.shape[0], name);
    return {{std::ssize(offsets) - 1, a.shape[1], b.shape[1]}, a.dtype, a.device};
  }
  void forward(const Tensor& a, const Tensor& b, Tensor& y) const {
    for (int64_t e = 0; e + 1 < std::ssize(offsets); ++e) {
      const int64_t begin = offsets[size_t(e)], end = offsets[size_t(e) + 1];
      Tensor matrix = matrix_of_stack(y, e);
      kernels::matmul(rows_of(a, begin, end), rows_of(b, begin, end), matrix, {true, false, false});
    }
  }
  Tensor composite(const Tensor& a, const Tensor& b) const;
  Tensors vjp(const Saved& s, const Tensor& gy, Need need) const;
};

}  // namespace ops

inline Tensor grouped_matmul(const Tensor& x, const Tensor& w, const GroupOffsets& offsets, bool transpose = false) {
  return apply(ops::GroupedMatmul{offsets, transpose}, x, w);
}

}  // namespace mora
