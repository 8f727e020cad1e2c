// MoRA's compression C and decompression D (Jiang et al. 2024, arXiv 2405.12130, and the published code): ΔW = D·M·C
// with a square M (r̂, r̂). All are linear maps without parameters; the adjoint of each is here too, so each is the
// other's backward.
#pragma once

#include "kernels/dispatch.h"

namespace mora::kernels {

enum class OperatorKind {
  truncation,     // Eq. 4: the first r̂ inputs; outputs beyond r̂ are zero
  sharing,        // type 1, Eq. 6: s_i = Σ_j x[j·r̂ + i]; tiled
  group,          // type 2: contiguous groups, the first k mod r̂ of them longer by one; each output repeats its group
  group_sharing,  // type 3: compress as group, decompress as sharing
  sharing_group,  // type 4: compress as sharing, decompress as group
  decouple,       // Eq. 8: chunks of r̂ inputs, M shared, outputs concatenated
  rotation,       // type 6, Eq. 9: as decouple, chunk i rotated by the angles i·10000^(−2j/r̂), half-split layout
  rotation_full,  // as rotation when k ≤ d; where k > d the chunks beyond the outputs are folded in, so that every
                  // input is read
};

struct MoraOperator {
  OperatorKind kind = OperatorKind::sharing;
  int64_t in = 0;    // k
  int64_t out = 0;   // d
  int64_t rank = 0;  // r̂, the side of M; even for the rotations

  // How many rows of r̂ a token becomes: 1, or the number of chunks for decouple and the rotations.
  int64_t chunks() const;
  // Throws ShapeError when the sizes make no operator (r̂ < 1, odd r̂ for a rotation …).
  void check() const;
};

// s = C(x).  x (N, k) → s (N, chunks, r̂)
MORA_KERNEL(mora_compress, const Tensor& x, Tensor& s, const MoraOperator& op);
// gx = Cᵀ(gs).
MORA_KERNEL(mora_compress_adjoint, const Tensor& gs, Tensor& gx, const MoraOperator& op);
// y = D(z) [+ y].  z (N, chunks, r̂) → y (N, d)
MORA_KERNEL(mora_decompress, const Tensor& z, Tensor& y, const MoraOperator& op, bool accumulate);
// gz = Dᵀ(gy).
MORA_KERNEL(mora_decompress_adjoint, const Tensor& gy, Tensor& gz, const MoraOperator& op);

}  // namespace mora::kernels
