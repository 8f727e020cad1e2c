#include "mora/adapters/mora.h"

#include <algorithm>
#include <cmath>

#include "autograd/ops/arithmetic.h"
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

bool is_one_row(OperatorKind kind) { return kind != OperatorKind::decouple && !is_rotation(kind); }

Tensor merged_matrix(const MoraOperator& op, const Tensor& matrix) {
  const Tensor m = cast(matrix.to(cpu), DType::f64);
  return is_one_row(op.kind) ? merge_one_row(op, m.data<double>()) : merge_blocks(op, m.data<double>());
}

// A = C, B = D·M of an operator that compresses a token to one row.
LowRank low_rank(const MoraOperator& op, const Tensor& matrix) {
  const int64_t k = op.in, r = op.rank;
  Tensor identity = Tensor::zeros({k, k});
  for (int64_t i = 0; i < k; ++i) identity.mutable_data<float>()[i * (k + 1)] = 1;
  const Tensor eye = cast(identity, matrix.dtype());
  const Tensor columns = reshape(contiguous(transpose(matrix)), {r, 1, r});  // the columns of M as rows
  return {contiguous(transpose(reshape(mora_compress(eye, op), {k, r}))),
          contiguous(transpose(mora_decompress(columns, op)))};
}

}  // namespace

MoRA::MoRA(AdapterSpec spec, int64_t in, int64_t out, int64_t side, uint64_t index, DType dtype)
    : spec_(spec), operator_{spec.op, in, out, side}, index_(index) {
  operator_.check();
  matrix_ = leaf(Tensor::zeros({side, side}, dtype));
}

int64_t MoRA::side_of_equal_parameters(int64_t rank, int64_t in, int64_t out) {
  return int64_t(std::sqrt(double((in + out) * rank)) + 0.5);
}

int64_t MoRA::side_for(const AdapterSpec& spec, int64_t in, int64_t out) {
  require<ConfigError>(spec.rank >= 1, "adapter.rank: {} is below 1", spec.rank);
  const int64_t side = std::min({side_of_equal_parameters(spec.rank, in, out), in, out});
  return is_rotation(spec.op) ? std::max<int64_t>(2, side / 2 * 2) : side;
}

Tensor MoRA::update(const Tensor& x, Context& context) const {
  const Tensor input =
      context.training ? dropout(x, spec_.dropout, context.key(index_, Purpose::dropout), context.clock) : x;
  const Tensor s = mora_compress(input, operator_);                                                  // (N, chunks, r̂)
  const Tensor z = matmul(reshape(s, {-1, operator_.rank}), cast(matrix_, x.dtype()), false, true);  // (N·chunks, r̂)
  return mora_decompress(reshape(z, s.shape()), operator_);                                          // (N, out)
}

std::optional<AdaptedTerm> MoRA::term(const FrozenWeightPtr& w, DType dtype, const Context& context) const {
  if (context.training && spec_.dropout > 0) return {};
  return mora_term(w, cast(matrix_, dtype), operator_);
}

void MoRA::visit_constants(ParameterVisitor visit) {
  for (size_t i = 0; i < history_.size(); ++i) visit(fmt::format("history.{}.M", i), history_[i].matrix);
}

Tensor MoRA::base_shift() const {
  const NoGrad no_grad;
  Tensor shift;
  for (const Folded& h : history_) {
    const Tensor delta = merged_matrix(h.op, h.matrix);
    shift = shift.defined() ? shift + delta : delta;
  }
  return shift;
}

Tensor MoRA::merged() const {
  const NoGrad no_grad;
  const Tensor shift = base_shift(), delta = merged_matrix(operator_, matrix_.detach());
  return shift.defined() ? shift + delta : delta;
}

void MoRA::fold(OperatorKind op, int64_t rank) {
  const Tensor here = matrix_.to(cpu);
  const auto values = here.values<float>();
  if (std::any_of(values.begin(), values.end(), [](float v) { return v != 0; }))
    history_.push_back({operator_, matrix_.detach()});
  spec_.op = op;
  spec_.rank = rank;
  operator_.kind = op;
  operator_.rank = side_for(spec_, operator_.in, operator_.out);
  operator_.check();
  matrix_ = leaf(Tensor::zeros({operator_.rank, operator_.rank}, DType::f32, matrix_.device()));
}

bool MoRA::is_low_rank() const { return !obstacle(); }

// The first operator whose update is not low-rank.
std::optional<OperatorKind> MoRA::obstacle() const {
  for (const Folded& h : history_)
    if (!is_one_row(h.op.kind)) return h.op.kind;
  return is_one_row(operator_.kind) ? std::nullopt : std::optional(operator_.kind);
}

LowRank MoRA::as_low_rank() const {
  if (const auto kind = obstacle())
    fail<ConfigError>("MoRA with operator {} is not a low-rank update: merge it instead", name_of(*kind));
  const NoGrad no_grad;
  if (history_.empty()) return low_rank(operator_, matrix_);
  std::vector<Tensor> a, b;
  for (const Folded& h : history_) {
    const LowRank part = low_rank(h.op, h.matrix);
    a.push_back(part.a);
    b.push_back(part.b);
  }
  const LowRank now = low_rank(operator_, matrix_);
  a.push_back(now.a);
  b.push_back(now.b);
  return {concat(a, 0), concat(b, 1)};
}

}  // namespace mora
