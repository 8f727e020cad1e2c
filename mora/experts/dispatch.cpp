#include "mora/experts/dispatch.h"

#include "autograd/ops/arithmetic.h"
#include "autograd/ops/embedding.h"
#include "autograd/ops/grouped_matmul.h"
#include "autograd/ops/matmul.h"
#include "autograd/ops/reduce.h"
#include "autograd/ops/shape.h"

namespace mora {
namespace {

// The chosen (token, expert) pairs, expert by expert.
struct Pairs {
  Tensor tokens;         // i32 (S): a pair's row of x
  Tensor gates;          // (S, 1)
  GroupOffsets offsets;  // (E+1)
};

Pairs pairs_of(const Routes& routes, DType dtype) {
  const int64_t rows = routes.chosen.dim(0), experts = routes.chosen.dim(1);
  const Tensor marks = contiguous(cast(routes.chosen.detach(), DType::f32));
  const float* chosen = marks.data<float>();
  std::vector<int32_t> tokens, places;
  Pairs pairs{.tokens = {}, .gates = {}, .offsets = {0}};
  for (int64_t e = 0; e < experts; ++e) {
    for (int64_t n = 0; n < rows; ++n) {
      if (chosen[n * experts + e] == 0) continue;
      tokens.push_back(int32_t(n));
      places.push_back(int32_t(n * experts + e));
    }
    pairs.offsets.push_back(std::ssize(tokens));
  }
  const Tensor column = reshape(cast(routes.gates, dtype), {rows * experts, 1});
  pairs.tokens = Tensor::from(tokens, {std::ssize(tokens)});
  pairs.gates = gather_rows(column, Tensor::from(places, {std::ssize(places)}), dtype);
  return pairs;
}

Tensor rows_of(const Tensor& x, const Pairs& pairs) { return gather_rows(x, pairs.tokens, x.dtype()); }

Tensor added_back(const Tensor& y, const Pairs& pairs, int64_t rows) {
  return apply(ops::ScatterRows{pairs.tokens, rows, y.dtype()}, y);
}

}  // namespace

Tensor dispatch(Dispatch way, const Tensor& x, const Routes& routes, const LowRankExperts& experts) {
  const int64_t rows = x.dim(0), count = experts.count, rank = experts.a.dim(0) / count;
  const Tensor a = cast(experts.a, x.dtype()), b = cast(experts.b, x.dtype());
  if (way == Dispatch::stacked) {
    const Tensor h = matmul(x, a, false, true);  // (N, E·r)
    const Tensor gates = reshape(cast(routes.gates, x.dtype()) * experts.scaling, {rows, count, 1});
    return matmul(reshape(reshape(h, {rows, count, rank}) * gates, h.shape()), b);  // (N, out)
  }
  const Pairs pairs = pairs_of(routes, x.dtype());
  const Tensor h = grouped_matmul(rows_of(x, pairs), reshape(a, {count, rank, a.dim(1)}), pairs.offsets, true);
  const Tensor gated = h * (pairs.gates * experts.scaling);                                    // (S, r)
  const Tensor y = grouped_matmul(gated, reshape(b, {count, rank, b.dim(1)}), pairs.offsets);  // (S, out)
  return added_back(y, pairs, rows);
}

Tensor dispatch(Dispatch way, const Tensor& s, const Routes& routes, const SquareExperts& experts) {
  const int64_t rows = s.dim(0), chunks = s.dim(1), side = s.dim(2), count = experts.count;
  const Tensor m = cast(experts.m, s.dtype());
  if (way == Dispatch::stacked) {
    const Tensor z = matmul(reshape(s, {rows * chunks, side}), m, false, true);  // (N·chunks, E·r̂)
    const Tensor gates = reshape(cast(routes.gates, s.dtype()), {rows, 1, count, 1});
    return sum(reshape(z, {rows, chunks, count, side}) * gates, {2});
  }
  Pairs pairs = pairs_of(routes, s.dtype());
  for (int64_t& offset : pairs.offsets) offset *= chunks;
  const Tensor own = reshape(rows_of(reshape(s, {rows, chunks * side}), pairs), {-1, side});  // (S·chunks, r̂)
  const Tensor z = grouped_matmul(own, reshape(m, {count, side, side}), pairs.offsets, true);
  const Tensor gated = reshape(z, {-1, chunks * side}) * pairs.gates;
  return reshape(added_back(gated, pairs, rows), s.shape());
}

}  // namespace mora
