#include "kernels/cpu/attention_plan.h"

namespace mora::kernels::cpu {
namespace {

// A piece costs its scores, and as much again as this many for its packing and its rows' statistics.
constexpr int64_t constant_cost = 256;
// Below this cost a second thread takes longer to wake than to work.
constexpr int64_t least_cost_of_a_thread = 8192;

void check_offsets(const Tensor& offsets, int64_t rows, const char* name) {
  require<DTypeError>(offsets.dtype() == DType::i32, "attention: {} must be i32, not {}", name,
                      name_of(offsets.dtype()));
  require<ShapeError>(offsets.rank() == 1 && offsets.numel() > 0 && offsets.is_contiguous(),
                      "attention: {} must be a contiguous vector of one more entry than sequences, not {}", name,
                      offsets.shape());
  const auto values = offsets.values<int32_t>();
  require<ShapeError>(values.front() == 0 && values.back() == rows && std::is_sorted(values.begin(), values.end()),
                      "attention: {} must rise from 0 to {} rows; they go from {} to {}", name, rows, values.front(),
                      values.back());
}

bool has_unit_rows(const Tensor& t) { return t.rank() == 3 && (t.dim(2) <= 1 || t.strides()[2] == 1); }

}  // namespace

AttentionPlan plan_attention(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& q_offsets,
                             const Tensor& kv_offsets, const Tensor& y, const Tensor& lse,
                             const AttentionShape& shape) {
  require<ShapeError>(has_unit_rows(q) && has_unit_rows(k) && has_unit_rows(v),
                      "attention: q {}, k {}, v {} must be (N, heads, D) with stride 1 in D", q.shape(), k.shape(),
                      v.shape());
  require<ShapeError>(k.shape() == v.shape() && q.dim(2) == k.dim(2) && k.dim(1) > 0 && q.dim(1) % k.dim(1) == 0,
                      "attention: q {} against k {} and v {}: D must agree, and q's heads be a multiple of k's",
                      q.shape(), k.shape(), v.shape());
  const DType statistics = q.dtype() == DType::f64 ? DType::f64 : DType::f32;
  require<DTypeError>(is_floating(q.dtype()) && k.dtype() == q.dtype() && v.dtype() == q.dtype() &&
                          y.dtype() == q.dtype() && lse.dtype() == statistics,
                      "attention: q, k, v, y must share one floating dtype and lse be {}; they are {}, {}, {}, {}, {}",
                      name_of(statistics), name_of(q.dtype()), name_of(k.dtype()), name_of(v.dtype()),
                      name_of(y.dtype()), name_of(lse.dtype()));
  require<ShapeError>(
      y.shape() == q.shape() && y.is_contiguous() && lse.is_contiguous() && lse.shape() == Shape({q.dim(0), q.dim(1)}),
      "attention: y {} and lse {} must be contiguous and of q's shape {}", y.shape(), lse.shape(), q.shape());
  require<ShapeError>(q_offsets.numel() == kv_offsets.numel(), "attention: {} query offsets, {} kv offsets",
                      q_offsets.numel(), kv_offsets.numel());
  require<ShapeError>(shape.window == 0 || (shape.causal && shape.window > 0),
                      "attention: a window of {} needs a causal mask", shape.window);
  check_offsets(q_offsets, q.dim(0), "q_offsets");
  check_offsets(kv_offsets, k.dim(0), "kv_offsets");
  AttentionPlan plan{.sequences = q_offsets.numel() - 1,
                     .heads = q.dim(1),
                     .kv_heads = k.dim(1),
                     .group = q.dim(1) / k.dim(1),
                     .dim = q.dim(2),
                     .q_offsets = q_offsets.data<int32_t>(),
                     .kv_offsets = kv_offsets.data<int32_t>(),
                     .shape = shape};
  for (int64_t b = 0; b < plan.sequences; ++b) plan.longest = std::max(plan.longest, plan.keys(b));
  return plan;
}

AttentionGradient plan_attention_gradient(const AttentionPlan& plan, const Tensor& q, const Tensor& k, const Tensor& v,
                                          const Tensor& y, const Tensor& lse, const Tensor& gy, Tensor& gq, Tensor& gk,
                                          Tensor& gv) {
  require<ShapeError>(gy.shape() == q.shape() && gy.is_contiguous(), "attention: gy {} must be contiguous, of q's {}",
                      gy.shape(), q.shape());
  require<ShapeError>(gq.shape() == q.shape() && gk.shape() == k.shape() && gv.shape() == k.shape() &&
                          has_unit_rows(gq) && has_unit_rows(gk) && has_unit_rows(gv),
                      "attention: gq {}, gk {}, gv {} must have the shapes of q {} and k {}, and stride 1 in D",
                      gq.shape(), gk.shape(), gv.shape(), q.shape(), k.shape());
  for (const Tensor* t :
       {&gy, static_cast<const Tensor*>(&gq), static_cast<const Tensor*>(&gk), static_cast<const Tensor*>(&gv)})
    require<DTypeError>(t->dtype() == q.dtype(), "attention: a gradient of {} for q of {}", name_of(t->dtype()),
                        name_of(q.dtype()));
  for (Tensor* t : {&gq, &gk, &gv}) t->mutable_raw();
  return {plan,
          HeadRows(q, plan.group),
          HeadRows(k),
          HeadRows(v),
          HeadRows(y, plan.group),
          HeadRows(gy, plan.group),
          HeadRows(gq),
          HeadRows(gk),
          HeadRows(gv),
          lse.raw()};
}

std::vector<AttentionPiece> cut_rows(const AttentionPlan& plan, int64_t rows_per_piece) {
  std::vector<AttentionPiece> pieces;
  for (int64_t b = 0; b < plan.sequences; ++b) {
    const int64_t rows = plan.rows(b);
    for (int64_t g = 0; g < plan.kv_heads; ++g) {
      for (int64_t begin = 0; begin < rows; begin += rows_per_piece) {
        AttentionPiece piece{b, g, {begin, std::min(rows, begin + rows_per_piece)}, constant_cost};
        plan.for_each_row(piece.rows,
                          [&](int64_t, int64_t query, int64_t) { piece.cost += plan.visible_to(b, query).size(); });
        pieces.push_back(piece);
      }
    }
  }
  return pieces;
}

void parallel_for_pieces(const std::vector<AttentionPiece>& pieces, FunctionRef<void(int64_t, int64_t)> f) {
  int64_t total = 0;
  for (const AttentionPiece& piece : pieces) total += piece.cost;
  const int64_t parts = std::clamp<int64_t>(total / least_cost_of_a_thread, 1, threads());
  // Part p ends with the piece in which the running cost passes (p + 1)/parts of the total.
  std::vector<int64_t> bounds(size_t(parts) + 1, int64_t(pieces.size()));
  bounds[0] = 0;
  int64_t sum = 0;
  for (int64_t i = 0, p = 1; i < int64_t(pieces.size()) && p < parts; ++i) {
    const int64_t middle = sum + pieces[size_t(i)].cost / 2;
    while (p < parts && middle * parts >= total * p) bounds[size_t(p++)] = i;
    sum += pieces[size_t(i)].cost;
  }
  parallel_for(parts, 1, [&](int64_t begin, int64_t end) {
    if (bounds[size_t(begin)] < bounds[size_t(end)]) f(bounds[size_t(begin)], bounds[size_t(end)]);
  });
}

}  // namespace mora::kernels::cpu
