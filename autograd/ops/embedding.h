// Rows of a table by index, and the adjoint.
#pragma once

#include "autograd/op.h"
#include "kernels/copy.h"

namespace mora {

namespace ops {

struct ScatterRows;

struct GatherRows {  // y[n] = table[ids[n]].  table (V, d), ids i32 (N) → (N, d)
  static constexpr std::string_view name = "gather_rows";
  Tensor ids;
  DType dtype = DType::f32;  // of y

  Meta infer(const Meta& table) const {
    require<ShapeError>(table.shape.rank() == 2, "gather_rows: the table is {}, not (V, d)", table.shape);
    require<DTypeError>(ids.dtype() == DType::i32 && ids.rank() == 1, "gather_rows: ids must be i32 (N), not {} {}",
                        name_of(ids.dtype()), ids.shape());
    return {{ids.dim(0), table.shape[1]}, dtype, table.device};
  }
  void forward(const Tensor& table, Tensor& y) const { kernels::gather_rows(table, ids, y); }
  Tensors vjp(const Saved& s, const Tensor& gy, Need need) const;
};

struct ScatterRows {  // y[ids[n]] += x[n] over zeros.  x (N, d) → (rows, d)
  static constexpr std::string_view name = "scatter_rows";
  Tensor ids;
  int64_t rows = 0;
  DType dtype = DType::f32;

  Meta infer(const Meta& x) const {
    require<ShapeError>(x.shape.rank() == 2 && x.shape[0] == ids.dim(0), "scatter_rows: x {} for {} ids", x.shape,
                        ids.dim(0));
    return {{rows, x.shape[1]}, dtype, x.device};
  }
  void forward(const Tensor& x, Tensor& y) const {
    kernels::fill(y, 0);
    kernels::scatter_add_rows(x, ids, y);
  }
  Tensors vjp(const Saved& s, const Tensor& g, Need) const { return {apply(GatherRows{ids, s.meta(0).dtype}, g)}; }
};

inline Tensors GatherRows::vjp(const Saved& s, const Tensor& gy, Need) const {
  return {apply(ScatterRows{ids, s.meta(0).shape[0], s.meta(0).dtype}, gy)};
}

}  // namespace ops

// y[n] = table[ids[n]], in `dtype`.
inline Tensor gather_rows(const Tensor& table, const Tensor& ids, DType dtype) {
  return apply(ops::GatherRows{ids, dtype}, table);
}
inline Tensor gather_rows(const Tensor& table, const Tensor& ids) { return gather_rows(table, ids, table.dtype()); }

}  // namespace mora
