#include <gtest/gtest.h>

#include <numeric>

#include "engine/parallel.h"
#include "kernels/attention_reference.h"
#include "kernels/bf16_products.h"

namespace mora::test {
namespace {

using kernels::AttentionShape;

std::vector<int32_t> offsets_of(const std::vector<int32_t>& lengths) {
  std::vector<int32_t> offsets(lengths.size() + 1, 0);
  std::partial_sum(lengths.begin(), lengths.end(), offsets.begin() + 1);
  return offsets;
}

// `t` seen through strides with `gap` unused elements after each row of D and each token.
Tensor with_gaps(const Tensor& t, int64_t gap) {
  if (gap == 0) return t;
  const int64_t row = t.dim(2) + gap;
  const int64_t token = t.dim(1) * row + gap;
  Tensor wide = Tensor::zeros({t.dim(0) * token + 1}, t.dtype());
  Tensor view = wide.alias(t.shape(), {token, row, 1}, 1);
  const size_t bytes = size_t(t.dim(2)) * size_of(t.dtype());
  auto* to = static_cast<std::byte*>(view.mutable_raw());
  for (int64_t n = 0; n < t.dim(0) * t.dim(1); ++n) {
    const int64_t at = n / t.dim(1) * token + n % t.dim(1) * row;
    std::memcpy(to + size_t(at) * size_of(t.dtype()), static_cast<const std::byte*>(t.raw()) + size_t(n) * bytes,
                bytes);
  }
  return view;
}

// One problem: sizes, tensors of a dtype, and the values the kernel sees, rounded to it.
struct Problem {
  AttentionSizes sizes;
  Tensor q, k, v, gy, q_offsets, kv_offsets;

  Problem(AttentionSizes s, DType dtype, int64_t gap = 0, double scale_of_values = 1) : sizes(std::move(s)) {
    const Shape q_shape{sizes.queries(), sizes.heads, sizes.dim}, kv_shape{sizes.keys(), sizes.kv_heads, sizes.dim};
    q = with_gaps(tensor_of(normal_values(q_shape.numel(), 1, scale_of_values), q_shape, dtype), gap);
    k = with_gaps(tensor_of(normal_values(kv_shape.numel(), 2), kv_shape, dtype), gap);
    v = with_gaps(tensor_of(normal_values(kv_shape.numel(), 3), kv_shape, dtype), gap);
    gy = tensor_of(normal_values(q_shape.numel(), 4), q_shape, dtype);
    q_offsets = Tensor::from(sizes.q_offsets, {int64_t(sizes.q_offsets.size())});
    kv_offsets = Tensor::from(sizes.kv_offsets, {int64_t(sizes.kv_offsets.size())});
  }

  struct Outputs {
    Tensor y, lse, gq, gk, gv;
  };
  Outputs run(int64_t gap = 0) const {
    const DType dtype = q.dtype();
    Outputs o{Tensor::empty(q.shape(), dtype),
              Tensor::empty({q.dim(0), q.dim(1)}, dtype == DType::f64 ? DType::f64 : DType::f32),
              with_gaps(Tensor::zeros(q.shape(), dtype), gap), with_gaps(Tensor::zeros(k.shape(), dtype), gap),
              with_gaps(Tensor::zeros(v.shape(), dtype), gap)};
    kernels::attention(q, k, v, q_offsets, kv_offsets, o.y, o.lse, sizes.shape);
    kernels::attention_backward(q, k, v, q_offsets, kv_offsets, o.y, o.lse, gy, o.gq, o.gk, o.gv, sizes.shape);
    return o;
  }

  void check(double factor = 1, int64_t gap = 0) const {
    const Outputs o = run(gap);
    const Values q64 = values_of(q), k64 = values_of(k), v64 = values_of(v);
    const AttentionResult forward = attention_reference(sizes, q64, k64, v64);
    const AttentionGradients g = attention_gradients_reference(sizes, q64, k64, v64, values_of(gy));
    const double close = factor * tolerance(q.dtype());
    EXPECT_LT(difference(values_of(o.y), forward.y), close);
    EXPECT_LT(difference(values_of(o.lse), forward.lse), factor * (q.dtype() == DType::f64 ? 1e-12 : 5e-6));
    EXPECT_LT(difference(values_of(o.gq), g.q), close);
    EXPECT_LT(difference(values_of(o.gk), g.k), close);
    EXPECT_LT(difference(values_of(o.gv), g.v), close);
  }
};

AttentionShape full(int64_t dim) { return {.scale = 1 / std::sqrt(double(dim))}; }
AttentionShape causal(int64_t dim, int64_t window = 0) {
  return {.scale = 1 / std::sqrt(double(dim)), .causal = true, .window = window};
}

class AttentionOfDType : public testing::TestWithParam<DType> {};
INSTANTIATE_TEST_SUITE_P(All, AttentionOfDType, testing::Values(DType::f64, DType::f32, DType::bf16, DType::f16),
                         [](const auto& tested) { return std::string(name_of(tested.param)); });

TEST_P(AttentionOfDType, EveryLengthAndHeadSize) {
  for (int64_t dim : {16, 32, 64, 80, 96, 128, 20, 1}) {
    const auto offsets = offsets_of({1, 2, 7, 25, 0, 48, 49, 130});
    for (const AttentionShape& shape : {full(dim), causal(dim)}) {
      SCOPED_TRACE(fmt::format("D {} causal {}", dim, shape.causal));
      Problem({2, 2, dim, offsets, offsets, shape}, GetParam()).check(4);
    }
  }
}

TEST_P(AttentionOfDType, GroupedQueriesAndStrides) {
  for (int64_t kv_heads : {1, 2, 3, 6}) {
    const auto offsets = offsets_of({5, 0, 33, 71});
    for (int64_t gap : {0, 3}) {
      SCOPED_TRACE(fmt::format("{} kv heads, gap {}", kv_heads, gap));
      Problem({6, kv_heads, 32, offsets, offsets, causal(32)}, GetParam(), gap).check(8, gap);
    }
  }
}

TEST_P(AttentionOfDType, FewerQueriesThanKeys) {
  for (int32_t queries : {1, 2, 5}) {
    const auto q_offsets = offsets_of({queries, queries, queries});
    const auto kv_offsets = offsets_of({queries, 200, 131});
    for (const AttentionShape& shape : {full(64), causal(64), causal(64, 17)}) {
      SCOPED_TRACE(fmt::format("{} queries, causal {}, window {}", queries, shape.causal, shape.window));
      Problem({6, 2, 64, q_offsets, kv_offsets, shape}, GetParam()).check(4);
    }
  }
}

// A query a sequence, as in decoding: the heads of a group that fall to one thread go together.
TEST_P(AttentionOfDType, OneQueryWithGroupsOfAnySize) {
  const int before = threads();
  for (int64_t group : {1, 2, 3, 4, 5, 9})
    for (int64_t dim : {64, 33, 4}) {
      SCOPED_TRACE(fmt::format("{} heads a group, D {}", group, dim));
      const Problem problem({2 * group, 2, dim, offsets_of({1, 1, 1}), offsets_of({203, 1, 66}), causal(dim)},
                            GetParam());
      problem.check(4);
      std::vector<Values> first;
      for (int n : {1, 2, 3, 7}) {
        set_threads(n);
        const auto o = problem.run();
        const std::vector<Values> all{values_of(o.y), values_of(o.lse)};
        if (first.empty()) first = all;
        EXPECT_EQ(all, first) << n << " threads";
      }
      set_threads(before);
    }
}

// Pairs of bf16 factors, where the processor multiplies them (in tiles where it has those, which heads of 33 and 48 do
// not fill), and f32 after widening.
TEST(Attention, Bf16BothWays) {
  const auto offsets = offsets_of({130, 301, 1, 64});
  test::for_both_bf16_products([&](kernels::Bf16Products products) {
    for (int64_t dim : {64, 48, 33, 32})
      for (const AttentionShape& shape : {full(dim), causal(dim), causal(dim, 47)}) {
        SCOPED_TRACE(fmt::format("native {} D {} causal {} window {}", products == kernels::Bf16Products::native, dim,
                                 shape.causal, shape.window));
        Problem({6, 2, dim, offsets, offsets, shape}, DType::bf16).check(4);
        Problem({6, 2, dim, offsets_of({1, 1}), offsets_of({151, 64}), shape}, DType::bf16).check(4);
      }
  });
}

TEST(Attention, Windows) {
  const auto offsets = offsets_of({130, 300, 3});
  for (int64_t window : {1, 2, 15, 16, 64, 129, 1000}) {
    SCOPED_TRACE(fmt::format("window {}", window));
    Problem({4, 2, 16, offsets, offsets, causal(16, window)}, DType::f32).check(4);
    Problem({4, 2, 16, offsets, offsets, causal(16, window)}, DType::f64).check();
  }
}

TEST(Attention, LongSequencesCrossEveryBlock) {
  const auto offsets = offsets_of({700, 129});
  Problem({3, 1, 64, offsets, offsets, causal(64)}, DType::f32).check(4);
  Problem({3, 1, 64, offsets, offsets, full(64)}, DType::f32).check(4);
}

TEST(Attention, QueriesThatSeeNothingGiveZeros) {
  // More queries than keys: the first three see no key; the second sequence has no keys at all.
  const AttentionSizes sizes{2, 1, 16, offsets_of({5, 2}), offsets_of({2, 0}), causal(16)};
  const Problem problem(sizes, DType::f32);
  problem.check();
  const auto o = problem.run();
  for (int64_t i = 0; i < 3 * 2; ++i) EXPECT_EQ(o.lse.data<float>()[i], -HUGE_VALF);
  for (int64_t i = 0; i < 3 * 2 * 16; ++i) EXPECT_EQ(o.y.data<float>()[i], 0);
  for (int64_t i = 0; i < 3 * 2 * 16; ++i) EXPECT_EQ(o.gq.data<float>()[i], 0);
}

TEST(Attention, NoSequencesAndNoTokens) {
  Problem({2, 1, 16, {0}, {0}, full(16)}, DType::f32).check();
  Problem({2, 1, 16, {0, 0, 0}, {0, 0, 0}, full(16)}, DType::f32).check();
}

TEST(Attention, KeysWithoutQueriesGetZeroGradients) {
  const Problem problem({2, 1, 16, offsets_of({0, 1}), offsets_of({9, 300}), causal(16, 4)}, DType::f32);
  problem.check();
}

TEST(Attention, LargeLogits) {
  const auto offsets = offsets_of({40});
  Problem({1, 1, 64, offsets, offsets, causal(64)}, DType::f64, 0, 1e4).check(100);
  const Problem f32({1, 1, 64, offsets, offsets, causal(64)}, DType::f32, 0, 1e4);
  const Values y = values_of(f32.run().y);
  for (double value : y) EXPECT_TRUE(std::isfinite(value));
}

TEST(Attention, InfiniteScoresHideTheirKeys) {
  const AttentionSizes sizes{1, 1, 16, {0, 1}, {0, 3}, full(16)};
  Problem problem(sizes, DType::f32);
  for (int64_t i = 0; i < 16; ++i) problem.q.mutable_data<float>()[i] = 1;
  problem.k.mutable_data<float>()[0] = -HUGE_VALF;  // the first key
  const auto o = problem.run();
  const AttentionSizes rest{1, 1, 16, {0, 1}, {0, 2}, full(16)};
  const Values k = values_of(problem.k), v = values_of(problem.v);
  const auto expected =
      attention_reference(rest, values_of(problem.q), Values(k.begin() + 16, k.end()), Values(v.begin() + 16, v.end()));
  EXPECT_LT(difference(values_of(o.y), expected.y), 1e-6);
  EXPECT_LT(difference(values_of(o.lse), expected.lse), 1e-6);
}

TEST(Attention, NanReachesOnlyTheRowsThatSeeIt) {
  const auto offsets = offsets_of({8});
  Problem problem({1, 1, 16, offsets, offsets, causal(16)}, DType::f32);
  problem.q.mutable_data<float>()[3 * 16] = NAN;
  const Values y = values_of(problem.run().y);
  for (size_t row = 0; row < 8; ++row) EXPECT_EQ(std::isnan(y[row * 16]), row == 3) << row;
}

TEST(Attention, ResultsDoNotDependOnTheNumberOfThreads) {
  const auto offsets = offsets_of({25, 311, 1, 97, 600});
  const Problem problem({6, 2, 32, offsets, offsets, causal(32)}, DType::f32);
  const int before = threads();
  std::vector<Values> first;
  for (int n : {1, 2, 3, 5}) {
    set_threads(n);
    const auto o = problem.run();
    const std::vector<Values> all{values_of(o.y), values_of(o.lse), values_of(o.gq), values_of(o.gk), values_of(o.gv)};
    if (first.empty()) first = all;
    EXPECT_EQ(all, first) << n << " threads";
  }
  set_threads(before);
}

TEST(Attention, BackwardAgreesWithFiniteDifferences) {
  const AttentionSizes sizes{4, 2, 8, offsets_of({3, 5}), offsets_of({6, 5}), causal(8, 4)};
  const Problem problem(sizes, DType::f64);
  const auto o = problem.run();
  const Values gy = values_of(problem.gy);
  const auto loss = [&](const Problem& p) {
    const Values y = values_of(p.run().y);
    return std::inner_product(y.begin(), y.end(), gy.begin(), 0.0);
  };
  constexpr double step = 1e-5;
  const auto check = [&](Tensor Problem::*input, const Tensor& gradient) {
    for (int64_t i = 0; i < gradient.numel(); ++i) {
      Problem moved = problem;
      double* x = (moved.*input).mutable_data<double>() + i;
      const double at = *x;
      *x = at + step;
      const double above = loss(moved);
      *x = at - step;
      const double below = loss(moved);
      *x = at;
      EXPECT_NEAR(gradient.data<double>()[i], (above - below) / (2 * step), 1e-8) << i;
    }
  };
  check(&Problem::q, o.gq);
  check(&Problem::k, o.gk);
  check(&Problem::v, o.gv);
}

TEST(Attention, WrongInputsAreNamed) {
  const auto offsets = offsets_of({4});
  const Problem good({2, 1, 16, offsets, offsets, full(16)}, DType::f32);
  auto o = good.run();
  const auto forward = [&](const Problem& p) {
    kernels::attention(p.q, p.k, p.v, p.q_offsets, p.kv_offsets, o.y, o.lse, p.sizes.shape);
  };
  Problem bad = good;
  bad.q_offsets = Tensor::from(std::vector<int32_t>{0, 5}, {2});
  EXPECT_THROW(forward(bad), ShapeError);
  bad = good;
  bad.kv_offsets = Tensor::from(std::vector<int32_t>{0, 3}, {2});
  EXPECT_THROW(forward(bad), ShapeError);
  bad = good;
  bad.v = Tensor::zeros({4, 1, 15});
  EXPECT_THROW(forward(bad), ShapeError);
  bad = good;
  bad.k = Tensor::zeros({4, 1, 16}, DType::bf16);
  EXPECT_THROW(forward(bad), DTypeError);
  bad = good;
  bad.sizes.shape.window = 3;
  EXPECT_THROW(forward(bad), ShapeError);
}

}  // namespace
}  // namespace mora::test
