#include "mora/adapters/mora.h"

#include <cmath>

#include "autograd/ops/adapted_linear.h"
#include "autograd/ops/dropout.h"
#include "autograd/ops/matmul.h"
#include "autograd/ops/mora_operator.h"
#include "autograd/ops/shape.h"

namespace mora {
namespace {

using kernels::MoraOperator;
using kernels::OperatorKind;

bool is_rotation(OperatorKind kind) { return kind == OperatorKind::rotation || kind == OperatorKind::rotation_full; }

// The group of entry i when n entries are cut into r contiguous groups, the first n mod r of them longer by one.
int64_t group_of(int64_t i, int64_t n, int64_t r) {
  if (n <= r) return i;
  const int64_t small = n / r, longer = n % r;
  const int64_t boundary = longer * (small + 1);
  return i < boundary ? i / (small + 1) : longer + (i - boundary) / small;
}

// ΔW of the operators that compress a token to one row: ΔW[o, i] = Σ M[row(o), column(i)].
Tensor merge_one_row(const MoraOperator& op, const double* m) {
  const int64_t r = op.rank, k = op.in, d = op.out;
  Tensor delta = Tensor::zeros({d, k}, DType::f64);
  double* w = delta.mutable_data<double>();
  const bool grouped_in = op.kind == OperatorKind::group || op.kind == OperatorKind::group_sharing;
  const bool grouped_out = op.kind == OperatorKind::group || op.kind == OperatorKind::sharing_group;
  if (op.kind == OperatorKind::truncation) {
    for (int64_t o = 0; o < std::min(d, r); ++o) {
      for (int64_t i = 0; i < std::min(k, r); ++i) w[o * k + i] = m[o * r + i];
    }
    return delta;
  }
  const int64_t padded = grouped_in ? k : (k + r - 1) / r * r;  // sharing pads x circularly to whole chunks
  for (int64_t o = 0; o < d; ++o) {
    const int64_t row = grouped_out ? group_of(o, d, r) : o % r;
    for (int64_t i = 0; i < padded; ++i) w[o * k + i % k] += m[row * r + (grouped_in ? group_of(i, k, r) : i % r)];
  }
  return delta;
}

// ΔW of decouple and the rotations: a block of r̂ rows an output chunk; block c is M turned by the angles of the chunks
// it reads.
Tensor merge_blocks(const MoraOperator& op, const double* m) {
  const int64_t r = op.rank, k = op.in, d = op.out, half = r / 2;
  const int64_t inputs = (k + r - 1) / r, slots = op.chunks();
  Tensor delta = Tensor::zeros({d, k}, DType::f64);
  double* w = delta.mutable_data<double>();
  const int64_t read = op.kind == OperatorKind::rotation_full ? inputs : slots;
  for (int64_t chunk = 0; chunk < read; ++chunk) {
    // Output rows of this slot: its own r̂, and where d has more than all slots give, every repetition of them.
    for (int64_t o = chunk % slots * r; o < d; o += inputs * r) {
      for (int64_t a = 0; a < r && o + a < d; ++a) {
        for (int64_t b = 0; b < r; ++b) {
          double value = m[a * r + b];
          if (is_rotation(op.kind)) {  // M·cos + [M₂, −M₁]·sin, by columns
            const double angle = double(chunk) * std::pow(10000.0, -2.0 * double(b % half) / double(r));
            value = value * std::cos(angle) + (b < half ? m[a * r + b + half] : -m[a * r + b - half]) * std::sin(angle);
          }
          w[(o + a) * k + (chunk * r + b) % k] += value;
        }
      }
    }
  }
  return delta;
}

}  // namespace

MoRA::MoRA(AdapterSpec spec, int64_t in, int64_t out, int64_t side, uint64_t index, DType dtype)
    : spec_(spec), operator_{spec.op, in, out, side}, index_(index) {
  operator_.check();
  matrix_ = leaf(Tensor::zeros({side, side}, dtype));
}

int64_t MoRA::side_for(const AdapterSpec& spec, int64_t in, int64_t out) {
  require<ConfigError>(spec.rank >= 1, "adapter.rank: {} is below 1", spec.rank);
  int64_t side = int64_t(std::sqrt(double((in + out) * spec.rank)) + 0.5);
  side = std::min({side, in, out});
  return is_rotation(spec.op) ? std::max<int64_t>(2, side / 2 * 2) : side;
}

Tensor MoRA::update(const Tensor& x, Context& context) const {
  const Tensor input = context.training ? dropout(x, spec_.dropout, context.key(index_, Purpose::dropout)) : x;
  const Tensor s = mora_compress(input, operator_);                                                  // (N, chunks, r̂)
  const Tensor z = matmul(reshape(s, {-1, operator_.rank}), cast(matrix_, x.dtype()), false, true);  // (N·chunks, r̂)
  return mora_decompress(reshape(z, s.shape()), operator_);                                          // (N, out)
}

Tensor MoRA::forward(const Tensor& x, const std::shared_ptr<const kernels::FrozenWeight>& w, Context& context) const {
  if (context.training && spec_.dropout > 0) return MoRALayer::forward(x, w, context);
  return mora_linear(x, w, cast(matrix_, x.dtype()), operator_);
}

Tensor MoRA::merged() const {
  const Tensor m = cast(matrix_.detach(), DType::f64);
  const bool blocks = operator_.kind == OperatorKind::decouple || is_rotation(operator_.kind);
  return blocks ? merge_blocks(operator_, m.data<double>()) : merge_one_row(operator_, m.data<double>());
}

bool MoRA::is_low_rank() const { return operator_.kind != OperatorKind::decouple && !is_rotation(operator_.kind); }

MoRA::LowRank MoRA::as_low_rank() const {
  require<ConfigError>(is_low_rank(), "MoRA with operator {} is not a low-rank update: merge it instead",
                       name_of(operator_.kind));
  const NoGrad no_grad;
  const int64_t k = operator_.in, r = operator_.rank;
  Tensor identity = Tensor::zeros({k, k}, matrix_.dtype());
  for (int64_t i = 0; i < k; ++i) {
    if (matrix_.dtype() == DType::f64)
      identity.mutable_data<double>()[i * k + i] = 1;
    else
      identity.mutable_data<float>()[i * k + i] = 1;
  }
  const Tensor a = contiguous(transpose(reshape(mora_compress(identity, operator_), {k, r})));  // C
  const Tensor columns = reshape(contiguous(transpose(matrix_)), {r, 1, r});  // the columns of M as rows
  return {a, contiguous(transpose(mora_decompress(columns, operator_)))};     // D·M
}

}  // namespace mora
