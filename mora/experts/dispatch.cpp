#include "mora/experts/dispatch.h"

#include <numeric>

#include "autograd/ops/arithmetic.h"
#include "autograd/ops/embedding.h"
#include "autograd/ops/grouped.h"
#include "autograd/ops/matmul.h"
#include "autograd/ops/reduce.h"
#include "autograd/ops/shape.h"

namespace mora {
namespace {

// The chosen (token, expert) pairs, expert by expert.
struct Pairs {
  RowGroups groups;  // a pair's row of x
  Tensor gates;      // (S, 1)
};

// Each token is `chunks` rows of x, one after the other, and so is a pair.
Pairs pairs_of(const Routes& routes, DType dtype, int64_t chunks = 1) {
  const int64_t tokens = routes.chosen.dim(0), experts = routes.chosen.dim(1);
  const Tensor marks = contiguous(cast(routes.chosen.detach(), DType::f32)).to(cpu);
  const float* chosen = marks.data<float>();
  Pairs pairs{.groups = {.rows = {}, .offsets = std::vector<int64_t>(size_t(experts) + 1, 0)}, .gates = {}};
  std::vector<int64_t>& offsets = pairs.groups.offsets;
  const auto for_each_chosen = [&](auto f) {  // f(token, expert, place in the gates)
    for (int64_t n = 0, place = 0; n < tokens; ++n)
      for (int64_t e = 0; e < experts; ++e, ++place)
        if (chosen[place] != 0) f(n, size_t(e), int32_t(place));
  };
  for_each_chosen([&](int64_t, size_t e, int32_t) { offsets[e + 1] += chunks; });
  std::partial_sum(offsets.begin(), offsets.end(), offsets.begin());
  std::vector<int64_t> next = offsets;  // where the next pair of an expert goes
  std::vector<int32_t> rows(size_t(offsets.back())), places(rows.size());
  for_each_chosen([&](int64_t n, size_t e, int32_t place) {
    for (int64_t c = 0; c < chunks; ++c) {
      const auto at = size_t(next[e]++);
      rows[at] = int32_t(n * chunks + c);
      places[at] = place;
    }
  });
  const Tensor column = reshape(cast(routes.gates, dtype), {tokens * experts, 1});
  pairs.groups.rows = Tensor::from(rows, {std::ssize(rows)}).to(column.device());
  pairs.gates = gather_rows(column, Tensor::from(places, {std::ssize(places)}).to(column.device()), dtype);
  return pairs;
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
  const Tensor h = gather_products(x, reshape(a, {count, rank, a.dim(1)}), pairs.groups);  // (S, r)
  const Tensor gated = h * (pairs.gates * experts.scaling);
  return scatter_products(gated, reshape(b, {count, rank, b.dim(1)}), pairs.groups, rows);  // (N, out)
}

Tensor dispatch(Dispatch way, const Tensor& s, const Routes& routes, const SquareExperts& experts) {
  const int64_t rows = s.dim(0), chunks = s.dim(1), side = s.dim(2), count = experts.count;
  const Tensor m = cast(experts.m, s.dtype());
  if (way == Dispatch::stacked) {
    const Tensor z = matmul(reshape(s, {rows * chunks, side}), m, false, true);  // (N·chunks, E·r̂)
    const Tensor gates = reshape(cast(routes.gates, s.dtype()), {rows, 1, count, 1});
    return sum(reshape(z, {rows, chunks, count, side}) * gates, {2});
  }
  const Pairs pairs = pairs_of(routes, s.dtype(), chunks);
  const Tensor z = gather_products(reshape(s, {rows * chunks, side}), reshape(m, {count, side, side}), pairs.groups);
  return reshape(apply(ops::ScatterRows{pairs.groups.rows, rows * chunks, z.dtype()}, z * pairs.gates), s.shape());
}

}  // namespace mora
