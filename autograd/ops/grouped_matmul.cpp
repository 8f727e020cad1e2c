#include "autograd/ops/grouped_matmul.h"

#include "autograd/ops/matmul.h"

namespace mora::ops {

Tensor GroupedMatmul::composite(const Tensor& x, const Tensor& w) const {
  Tensors groups;
  for (size_t e = 0; e + 1 < offsets.size(); ++e) {
    const Tensor matrix = reshape(slice(w, 0, int64_t(e), 1), {w.dim(1), w.dim(2)});
    groups.push_back(matmul(slice(x, 0, offsets[e], offsets[e + 1] - offsets[e]), matrix, false, transpose));
  }
  return concat(groups, 0);
}

// y = x·W: gx = gy·Wᵀ, gW = xᵀ·gy.  y = x·Wᵀ: gx = gy·W, gW = gyᵀ·x.
Tensors GroupedMatmul::vjp(const Saved& s, const Tensor& gy, Need need) const {
  Tensor gx, gw;
  if (need[0]) gx = apply(GroupedMatmul{offsets, !transpose}, gy, s.input(1));
  if (need[1]) {
    const Tensor x = s.input(0);
    gw = transpose ? apply(GroupedOuter{offsets}, gy, x) : apply(GroupedOuter{offsets}, x, gy);
  }
  return {gx, gw};
}

Tensor GroupedOuter::composite(const Tensor& a, const Tensor& b) const {
  Tensors groups;
  for (size_t e = 0; e + 1 < offsets.size(); ++e) {
    const int64_t rows = offsets[e + 1] - offsets[e];
    const Tensor product = matmul(slice(a, 0, offsets[e], rows), slice(b, 0, offsets[e], rows), true, false);
    groups.push_back(reshape(product, {1, a.dim(1), b.dim(1)}));
  }
  return concat(groups, 0);
}

// ga[s] = b[s]·gy_eᵀ, gb[s] = a[s]·gy_e
Tensors GroupedOuter::vjp(const Saved& s, const Tensor& gy, Need need) const {
  Tensor ga, gb;
  if (need[0]) ga = apply(GroupedMatmul{offsets, true}, s.input(1), gy);
  if (need[1]) gb = apply(GroupedMatmul{offsets, false}, s.input(0), gy);
  return {ga, gb};
}

}  // namespace mora::ops
