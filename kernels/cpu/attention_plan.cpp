#include "kernels/cpu/attention_plan.h"

#include "kernels/product_checks.h"

namespace mora::kernels::cpu {
namespace {

// A piece costs its scores, and as much again as this many for its packing and its rows' statistics.
constexpr int64_t constant_cost = 256;
// Below this cost a second thread takes longer to wake than to work.
constexpr int64_t least_cost_of_a_thread = 8192;

void check_offset_values(const Tensor& offsets, int64_t rows, const char* name) {
  const auto values = offsets.values<int32_t>();
  require<ShapeError>(values.front() == 0 && values.back() == rows && std::is_sorted(values.begin(), values.end()),
                      "attention: {} must rise from 0 to {} rows; they go from {} to {}", name, rows, values.front(),
                      values.back());
}

}  // namespace

AttentionPlan plan_attention(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& q_offsets,
                             const Tensor& kv_offsets, const Tensor& y, const Tensor& lse,
                             const AttentionShape& shape) {
  check_attention(q, k, v, q_offsets, kv_offsets, y, lse, shape);
  check_offset_values(q_offsets, q.dim(0), "q_offsets");
  check_offset_values(kv_offsets, k.dim(0), "kv_offsets");
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
  check_attention_gradient(q, k, gy, gq, gk, gv);
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
