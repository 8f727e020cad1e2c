// MoRA's compression C and decompression D (Jiang et al. 2024, arXiv 2405.12130, and the published code): ΔW = D·M·C
// with a square M (r̂, r̂). All are linear maps without parameters; the adjoint of each is here too, so each is the
// other's backward.
#pragma once

#include "kernels/matmul.h"

namespace mora::kernels {

// x̃ is x repeated to n·r̂ inputs, n = ⌈k/r̂⌉ (the padding is circular, and r̂ may exceed k); m = min(n, ⌈d/r̂⌉).
enum class OperatorKind {
  truncation,     // Eq. 4: the first r̂ inputs (zeros where there are fewer); outputs beyond r̂ are zero
  sharing,        // type 1, Eq. 6: s_i = Σ_j x̃[j·r̂ + i]; tiled
  group,          // type 2: contiguous groups, the first k mod r̂ of them longer by one; each output repeats its group
  group_sharing,  // type 3: compress as group, decompress as sharing
  sharing_group,  // type 4: compress as sharing, decompress as group
  decouple,       // Eq. 8: the first m chunks of r̂ of x̃, M shared, outputs concatenated (tiled where d > n·r̂)
  rotation,  // type 6, Eq. 9: as decouple, chunk c rotated by the angles c·10000^(−2j/r̂) in the half-split layout.
             // Where k > d the inputs of chunks from m on are not read
  rotation_full,  // as rotation, but chunk c, rotated by its own angles, is added to row c mod m: every input is read
};

struct MoraOperator {
  OperatorKind kind = OperatorKind::sharing;
  int64_t in = 0;    // k
  int64_t out = 0;   // d
  int64_t rank = 0;  // r̂, the side of M; even for the rotations
  bool operator==(const MoraOperator&) const = default;

  // How many rows of r̂ a token becomes: 1, or the number of chunks for decouple and the rotations.
  int64_t chunks() const;
  // Throws ShapeError when the sizes make no operator (r̂ < 1, odd r̂ for a rotation …).
  void check() const;
};

// s = C(x).  x (N, k) → s (N, chunks, r̂)
MORA_KERNEL(mora_compress, const Tensor& x, Tensor& s, const MoraOperator& op);
// gx = Cᵀ(gs) [+ gx].
MORA_KERNEL(mora_compress_adjoint, const Tensor& gs, Tensor& gx, const MoraOperator& op, bool accumulate);
// y = D(z) [+ y].  z (N, chunks, r̂) → y (N, d)
MORA_KERNEL(mora_decompress, const Tensor& z, Tensor& y, const MoraOperator& op, bool accumulate);
// gz = Dᵀ(gy).
MORA_KERNEL(mora_decompress_adjoint, const Tensor& gy, Tensor& gz, const MoraOperator& op);

// A frozen linear with a MoRA: y = x·Wᵀ + c + D(C(x)·Mᵀ).  M (r̂, r̂) of x's dtype
MORA_KERNEL(mora_linear, const Tensor& x, const FrozenWeight& w, const Tensor& m, Tensor& y, const MoraOperator& op);
// gx = gy·W + Cᵀ(gz·M), gM = gzᵀ·C(x), gz = Dᵀ(gy); each where defined.
MORA_KERNEL(mora_linear_backward, const Tensor& x, const FrozenWeight& w, const Tensor& m, const Tensor& gy, Tensor& gx,
            Tensor& gm, const MoraOperator& op);

// Both by linear, the kernels above and matmul, on any device, of tensors that were checked: what has no kernel of its
// own, or none for these sizes.
void compose_mora_linear(const Tensor& x, const FrozenWeight& w, const Tensor& m, Tensor& y, const MoraOperator& op);
void compose_mora_linear_backward(const Tensor& x, const FrozenWeight& w, const Tensor& m, const Tensor& gy, Tensor& gx,
                                  Tensor& gm, const MoraOperator& op);

}  // namespace mora::kernels
