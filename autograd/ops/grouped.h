// Products of rows in groups, each group with a matrix of its own (kernels/grouped.h): what experts are computed with.
// The three ops are each other's derivatives, so that any order comes without a fourth.
#pragma once

#include <algorithm>

#include "autograd/op.h"
#include "kernels/grouped.h"

namespace mora {

using kernels::RowGroups;

namespace ops {

// h (S, r), x (N, d), W (E, r, d): what all three agree on.
inline void check_groups(std::string_view op, const RowGroups& groups, const Meta& a, const Meta& b) {
  require<DTypeError>(groups.rows.dtype() == DType::i32 && groups.rows.rank() == 1,
                      "{}: rows must be i32 (S), not {} {}", op, name_of(groups.rows.dtype()), groups.rows.shape());
  require<DTypeError>(a.dtype == b.dtype && is_floating(a.dtype), "{}: {} against {}", op, name_of(a.dtype),
                      name_of(b.dtype));
  const auto& offsets = groups.offsets;
  require<ShapeError>(!offsets.empty() && offsets.front() == 0 && offsets.back() == groups.rows.dim(0) &&
                          std::is_sorted(offsets.begin(), offsets.end()),
                      "{}: the offsets must rise from 0 to {}", op, groups.rows.dim(0));
}

struct GatherProducts {  // h[s] = W_e·x[rows[s]].  x (N, d), W (E, r, d) → (S, r)
  static constexpr std::string_view name = "gather_products";
  static constexpr Saves saves{.inputs = 0b11};
  RowGroups groups;

  Meta infer(const Meta& x, const Meta& w) const {
    check_groups(name, groups, x, w);
    require<ShapeError>(x.shape.rank() == 2 && w.shape.rank() == 3 && x.shape[1] == w.shape[2] &&
                            w.shape[0] + 1 == std::ssize(groups.offsets),
                        "gather_products: x {} against W {} in {} groups", x.shape, w.shape,
                        std::ssize(groups.offsets) - 1);
    return {{groups.rows.dim(0), w.shape[1]}, x.dtype, x.device};
  }
  void forward(const Tensor& x, const Tensor& w, Tensor& h) const { kernels::gather_products(x, w, h, groups); }
  Tensors vjp(const Saved& s, const Tensor& gh, Need need) const;
};

struct ScatterProducts {  // x[rows[s]] += h[s]·W_e, over zeros.  h (S, r), W (E, r, d) → (n, d)
  static constexpr std::string_view name = "scatter_products";
  static constexpr Saves saves{.inputs = 0b11};
  RowGroups groups;
  int64_t n = 0;

  Meta infer(const Meta& h, const Meta& w) const {
    check_groups(name, groups, h, w);
    require<ShapeError>(h.shape.rank() == 2 && w.shape.rank() == 3 && h.shape[1] == w.shape[1] &&
                            h.shape[0] == groups.rows.dim(0) && w.shape[0] + 1 == std::ssize(groups.offsets),
                        "scatter_products: h {} against W {} in {} groups", h.shape, w.shape,
                        std::ssize(groups.offsets) - 1);
    return {{n, w.shape[2]}, h.dtype, h.device};
  }
  void forward(const Tensor& h, const Tensor& w, Tensor& x) const { kernels::scatter_products(h, w, x, groups); }
  Tensors vjp(const Saved& s, const Tensor& gx, Need need) const;
};

struct OuterProducts {  // W_e = Σ_s h[s]ᵀ·x[rows[s]] over the rows of group e.  h (S, r), x (N, d) → (E, r, d)
  static constexpr std::string_view name = "outer_products";
  static constexpr Saves saves{.inputs = 0b11};
  RowGroups groups;

  Meta infer(const Meta& h, const Meta& x) const {
    check_groups(name, groups, h, x);
    require<ShapeError>(h.shape.rank() == 2 && x.shape.rank() == 2 && h.shape[0] == groups.rows.dim(0),
                        "outer_products: h {} against x {} in {} rows", h.shape, x.shape, groups.rows.dim(0));
    return {{std::ssize(groups.offsets) - 1, h.shape[1], x.shape[1]}, h.dtype, h.device};
  }
  void forward(const Tensor& h, const Tensor& x, Tensor& w) const { kernels::outer_products(h, x, w, groups); }
  Tensors vjp(const Saved& s, const Tensor& gw, Need need) const {
    Tensor gh, gx;
    if (need[0]) gh = apply(GatherProducts{groups}, s.input(1), gw);
    if (need[1]) gx = apply(ScatterProducts{groups, s.meta(1).shape[0]}, s.input(0), gw);
    return {gh, gx};
  }
};

inline Tensors GatherProducts::vjp(const Saved& s, const Tensor& gh, Need need) const {
  Tensor gx, gw;
  if (need[0]) gx = apply(ScatterProducts{groups, s.meta(0).shape[0]}, gh, s.input(1));
  if (need[1]) gw = apply(OuterProducts{groups}, gh, s.input(0));
  return {gx, gw};
}

inline Tensors ScatterProducts::vjp(const Saved& s, const Tensor& gx, Need need) const {
  Tensor gh, gw;
  if (need[0]) gh = apply(GatherProducts{groups}, gx, s.input(1));
  if (need[1]) gw = apply(OuterProducts{groups}, s.input(0), gx);
  return {gh, gw};
}

}  // namespace ops

inline Tensor gather_products(const Tensor& x, const Tensor& w, const RowGroups& groups) {
  return apply(ops::GatherProducts{groups}, x, w);
}
inline Tensor scatter_products(const Tensor& h, const Tensor& w, const RowGroups& groups, int64_t n) {
  return apply(ops::ScatterProducts{groups, n}, h, w);
}

}  // namespace mora
