#include "kernels/mora_operator.h"

#include <algorithm>

#include "kernels/cuda/mora_operator.h"
#include "kernels/cuda/tensor_view.h"
#include "kernels/product_checks.h"

namespace mora::kernels::cuda {
namespace {

// C's side (of x), or D's (of y).
OperatorSide side_of(const MoraOperator& op, bool input) {
  using enum OperatorKind;
  const int64_t wide = input ? op.in : op.out;
  const bool keeps_part = op.kind == decouple || op.kind == rotation;
  const int64_t chunks = keeps_part ? op.chunks() : (op.in + op.rank - 1) / op.rank;  // of x that are read
  OperatorSide side{.wide = uint32_t(wide), .rank = uint32_t(op.rank), .slots = uint32_t(op.chunks())};
  side.reach = uint32_t(input ? chunks * op.rank : wide);
  if (op.kind == group || op.kind == (input ? group_sharing : sharing_group))
    side.form = OperatorSide::grouped;
  else if (op.kind == truncation)
    side.reach = uint32_t(std::min(wide, op.rank));
  else if (input && (op.kind == rotation || op.kind == rotation_full))
    side.form = OperatorSide::rotated;
  return side;
}

// f(C's or D's side, with its angles), after the checks.
template <class F>
void with_side(std::string_view name, const Tensor& wide, const Tensor& narrow, const MoraOperator& op, bool input,
               F f) {
  check_operator(name, wide, narrow, input ? op.in : op.out, op);
  require_floating(name, wide);
  require_device_of(wide, name, narrow);
  require<ShapeError>(std::max({op.in, op.out, op.rank}) < (int64_t{1} << 30),
                      "mora: an operator of {} inputs, {} outputs and rank {} is too large", op.in, op.out, op.rank);
  OperatorSide side = side_of(op, input);
  Tensor cos, sin;
  if (side.form == OperatorSide::rotated) {
    const Shape shape{side.reach / op.rank, op.rank / 2};
    cos = Tensor::empty(shape, compute_dtype(wide.dtype()), wide.device());
    sin = Tensor::empty(shape, compute_dtype(wide.dtype()), wide.device());
    side.cos = output(cos);
    side.sin = output(sin);
    launch_operator_angles(side.cos, side.sin, side.rank);
  }
  f(side);
}

}  // namespace

void mora_compress(const Tensor& x, Tensor& s, const MoraOperator& op) {
  with_side("mora_compress", x, s, op, true,
            [&](const OperatorSide& side) { launch_operator_gather(side, x.dim(0), view(x), output(s)); });
}

void mora_compress_adjoint(const Tensor& gs, Tensor& gx, const MoraOperator& op, bool accumulate) {
  with_side("mora_compress_adjoint", gx, gs, op, true, [&](const OperatorSide& side) {
    launch_operator_scatter(side, gx.dim(0), view(gs), output(gx), accumulate);
  });
}

void mora_decompress(const Tensor& z, Tensor& y, const MoraOperator& op, bool accumulate) {
  with_side("mora_decompress", y, z, op, false,
            [&](const OperatorSide& side) { launch_operator_scatter(side, y.dim(0), view(z), output(y), accumulate); });
}

void mora_decompress_adjoint(const Tensor& gy, Tensor& gz, const MoraOperator& op) {
  with_side("mora_decompress_adjoint", gy, gz, op, false,
            [&](const OperatorSide& side) { launch_operator_gather(side, gy.dim(0), view(gy), output(gz)); });
}

void mora_linear(const Tensor& x, const FrozenWeight& w, const Tensor& m, Tensor& y, const MoraOperator& op) {
  check_mora("mora_linear", x, m, y, op);
  compose_mora_linear(x, w, m, y, op);
}

void mora_linear_backward(const Tensor& x, const FrozenWeight& w, const Tensor& m, const Tensor& gy, Tensor& gx,
                          Tensor& gm, const MoraOperator& op) {
  check_mora("mora_linear_backward", x, m, gy, op);
  compose_mora_linear_backward(x, w, m, gy, gx, gm, op);
}

}  // namespace mora::kernels::cuda
