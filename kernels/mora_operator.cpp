#include "kernels/mora_operator.h"

namespace mora::kernels {
namespace {

// (N, chunks, r̂) for the tokens of x, and the same seen as (N·chunks, r̂).
Tensor narrow_of(const Tensor& x, const MoraOperator& op) {
  return Tensor::empty({x.dim(0), op.chunks(), op.rank}, x.dtype(), x.device());
}
Tensor rows_of(const Tensor& t) {
  const Shape shape{t.dim(0) * t.dim(1), t.dim(2)};
  return t.alias(shape, contiguous_strides(shape), t.offset());
}

}  // namespace

int64_t MoraOperator::chunks() const {
  switch (kind) {
    case OperatorKind::decouple:
    case OperatorKind::rotation:
    case OperatorKind::rotation_full: return std::min((in + rank - 1) / rank, (out + rank - 1) / rank);
    default: return 1;
  }
}

void MoraOperator::check() const {
  require<ShapeError>(in > 0 && out > 0 && rank > 0, "mora: an operator of {} inputs, {} outputs and rank {}", in, out,
                      rank);
  const bool rotates = kind == OperatorKind::rotation || kind == OperatorKind::rotation_full;
  require<ShapeError>(!rotates || rank % 2 == 0, "mora: a rotation of rank {}: expected an even rank", rank);
}

void compose_mora_linear(const Tensor& x, const FrozenWeight& w, const Tensor& m, Tensor& y, const MoraOperator& op) {
  linear(x, w, y);
  Tensor s = narrow_of(x, op), z = narrow_of(x, op), z_rows = rows_of(z);
  mora_compress(x, s, op);
  matmul(rows_of(s), m, z_rows, {.transpose_b = true});
  mora_decompress(z, y, op, true);
}

void compose_mora_linear_backward(const Tensor& x, const FrozenWeight& w, const Tensor& m, const Tensor& gy, Tensor& gx,
                                  Tensor& gm, const MoraOperator& op) {
  Tensor gz = narrow_of(x, op), s = narrow_of(x, op), s_rows = rows_of(s);
  mora_decompress_adjoint(gy, gz, op);
  if (gm.defined()) {
    mora_compress(x, s, op);
    matmul(rows_of(gz), s_rows, gm, {.transpose_a = true});
  }
  if (!gx.defined()) return;
  linear_backward(gy, w, gx);
  matmul(rows_of(gz), m, s_rows, {});  // the gradient of s
  mora_compress_adjoint(s, gx, op, true);
}

}  // namespace mora::kernels
