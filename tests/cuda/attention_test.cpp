#include "kernels/attention.h"

#include <numeric>

#include "cuda/twin.h"

namespace mora::test {
namespace {

using kernels::AttentionShape;

struct Problem {
  int64_t heads, kv_heads, dim;
  std::vector<int32_t> queries, keys;  // of each sequence
  AttentionShape shape;
  int64_t gap = 0;  // unused elements before q, k, v and their gradients, and after each head and token; 8 keep packs
};

AttentionShape full(int64_t dim) { return {.scale = 1 / std::sqrt(double(dim))}; }
AttentionShape causal(int64_t dim, int64_t window = 0) {
  return {.scale = 1 / std::sqrt(double(dim)), .causal = true, .window = window};
}

Tensor offsets(const std::vector<int32_t>& lengths) {
  std::vector<int32_t> sums(lengths.size() + 1, 0);
  std::partial_sum(lengths.begin(), lengths.end(), sums.begin() + 1);
  return Tensor::from(sums, {std::ssize(sums)});
}

// What (n, heads, dim) with gaps lies in, and how.
Shape storage_shape(int64_t n, int64_t heads, int64_t dim, int64_t gap) {
  return {n * (heads * (dim + gap) + gap) + gap};
}
Tensor heads_of(const Tensor& storage, int64_t n, int64_t heads, int64_t dim, int64_t gap) {
  return storage.alias({n, heads, dim}, {heads * (dim + gap) + gap, dim + gap, 1}, gap);
}

// Forward and backward. What lies in the gaps of the outputs stays as it was.
void expect_attention(const Problem& p, DType dtype, double factor = 4) {
  const auto n = std::accumulate(p.queries.begin(), p.queries.end(), int64_t{0});
  const auto m = std::accumulate(p.keys.begin(), p.keys.end(), int64_t{0});
  const Shape q_shape = storage_shape(n, p.heads, p.dim, p.gap), k_shape = storage_shape(m, p.kv_heads, p.dim, p.gap);
  const Shape y_shape{n, p.heads, p.dim}, statistics{n, p.heads};
  const auto random = [&](const Shape& shape, uint64_t seed) {
    return tensor_of(normal_values(shape.numel(), seed), shape, dtype);
  };
  const Tensors tensors = {
      random(q_shape, 1),        random(k_shape, 2),
      random(k_shape, 3),        offsets(p.queries),
      offsets(p.keys),           random(y_shape, 4),
      unwritten(y_shape, dtype), unwritten(statistics, dtype == DType::f64 ? DType::f64 : DType::f32),
      random(q_shape, 5),        random(k_shape, 6),
      random(k_shape, 7)};
  expect_twins(tensors, factor * tolerance(dtype), [&](Tensors& t) {
    const auto queries = [&](const Tensor& x) { return heads_of(x, n, p.heads, p.dim, p.gap); };
    const auto keys = [&](const Tensor& x) { return heads_of(x, m, p.kv_heads, p.dim, p.gap); };
    const Tensor q = queries(t[0]), k = keys(t[1]), v = keys(t[2]);
    Tensor gq = queries(t[8]), gk = keys(t[9]), gv = keys(t[10]);
    kernels::attention(q, k, v, t[3], t[4], t[6], t[7], p.shape);
    kernels::attention_backward(q, k, v, t[3], t[4], t[6], t[7], t[5], gq, gk, gv, p.shape);
  });
}

TEST(SimtAttention, EveryDTypeAndHeadSize) {
  for (const DType dtype : floating_dtypes) {
    for (const int64_t dim : {20, 64, 80, 90, 128, 200}) {
      SCOPED_TRACE(fmt::format("{} D {}", name_of(dtype), dim));
      expect_attention({2, 1, dim, {1, 19, 0, 5}, {1, 19, 0, 5}, causal(dim)}, dtype);
    }
  }
  for (const int64_t dim : {1, 32})
    expect_attention({1, 1, dim, {1, 19, 0, 5}, {1, 19, 0, 5}, causal(dim)}, DType::f32);
}

// Of each width of tiles: those of two bytes are of 64 rows and 32 or more, so the mask crosses some and spares others.
TEST(SimtAttention, SequencesLongerThanATile) {
  for (const DType dtype : {DType::f32, DType::bf16}) {
    expect_attention({1, 1, 16, {130, 3, 64}, {130, 3, 64}, causal(16)}, dtype);
    expect_attention({1, 1, 16, {130, 3, 64}, {130, 3, 64}, full(16)}, dtype);
  }
  for (const int64_t dim : {64, 80, 96, 128}) {
    SCOPED_TRACE(fmt::format("D {}", dim));
    expect_attention({2, 1, dim, {150, 0, 1}, {150, 0, 1}, causal(dim)}, dim == 80 ? DType::f16 : DType::bf16, 8);
    expect_attention({1, 1, dim, {70, 65}, {140, 65}, dim == 96 ? causal(dim, 50) : full(dim)},
                     dim == 64 ? DType::f16 : DType::bf16, 8);
  }
}

TEST(SimtAttention, GroupedQueriesAndStrides) {
  for (const int64_t kv_heads : {1, 2, 6}) {
    for (const int64_t gap : {0, 3, 8}) {
      SCOPED_TRACE(fmt::format("{} kv heads, gap {}", kv_heads, gap));
      expect_attention({6, kv_heads, 16, {5, 0, 17}, {5, 0, 17}, causal(16), gap}, DType::f32, 8);
      for (const int64_t dim : {12, 16})  // 16: packs that asynchronous copies take, where the gap keeps them
        expect_attention({6, kv_heads, dim, {5, 0, 17}, {5, 0, 17}, causal(dim), gap}, DType::bf16, 8);
    }
  }
}

TEST(SimtAttention, FewerQueriesThanKeysAndWindows) {
  for (const int32_t queries : {1, 2, 5})
    for (const AttentionShape& shape : {full(16), causal(16), causal(16, 17), causal(16, 1)})
      expect_attention({4, 2, 16, {queries, queries, queries}, {queries, 100, 71}, shape}, DType::f32);
  for (const int64_t window : {1, 2, 15, 64, 1000})
    expect_attention({2, 1, 16, {100, 3}, {100, 3}, causal(16, window)}, DType::f32);
}

TEST(SimtAttention, QueriesThatSeeNothingAndKeysThatNobodySees) {
  expect_attention({2, 1, 16, {5, 2}, {2, 0}, causal(16)}, DType::f32);
  expect_attention({2, 1, 16, {0, 1}, {9, 80}, causal(16, 4)}, DType::f32);
  expect_attention({2, 1, 16, {0, 0}, {9, 80}, full(16)}, DType::f32);
}

TEST(SimtAttention, NothingAtAll) {
  expect_attention({2, 1, 16, {}, {}, full(16)}, DType::f32);
  expect_attention({2, 1, 16, {0, 0}, {0, 0}, full(16)}, DType::f32);
}

TEST(SimtAttention, InfiniteScoresAndLargeOnes) {
  Tensor q = tensor_of(Values(16, 1), {1, 1, 16}, DType::f32),
         k = tensor_of(normal_values(48, 1, 1e4), {3, 1, 16}, DType::f32);
  k.mutable_data<float>()[0] = -HUGE_VALF;
  expect_twins({q, k, k, offsets({1}), offsets({3}), unwritten({1, 1, 16}, DType::f32), unwritten({1, 1}, DType::f32)},
               tolerance(DType::f32),
               [](Tensors& t) { kernels::attention(t[0], t[1], t[2], t[3], t[4], t[5], t[6], full(16)); });
}

TEST(SimtAttention, ScalesThatAreNotPositive) {
  for (const double scale : {0.0, -0.3})
    for (const DType dtype : {DType::f32, DType::bf16})
      expect_attention({2, 1, 16, {5, 0, 17}, {5, 0, 17}, {.scale = scale, .causal = true}}, dtype);
}

TEST(SimtAttention, RowsThatSeeNothingButMinusInfinity) {
  for (const DType dtype : {DType::f32, DType::bf16}) {
    const Tensor q = tensor_of(Values(32, 1), {2, 1, 16}, dtype),
                 k = tensor_of(Values(32, -HUGE_VAL), {2, 1, 16}, dtype),
                 v = tensor_of(normal_values(32, 1), {2, 1, 16}, dtype);
    expect_twins({q, k, v, offsets({2}), offsets({2}), unwritten({2, 1, 16}, dtype), unwritten({2, 1}, DType::f32)},
                 tolerance(dtype),
                 [](Tensors& t) { kernels::attention(t[0], t[1], t[2], t[3], t[4], t[5], t[6], full(16)); });
  }
}

TEST(SimtAttention, RefusesHeadsThatAreTooLarge) {
  const Tensor x = Tensor::zeros({1, 1, 257}, DType::f32, device), ends = offsets({1}).to(device);
  Tensor y = Tensor::zeros({1, 1, 257}, DType::f32, device), lse = Tensor::zeros({1, 1}, DType::f32, device);
  EXPECT_THROW(kernels::attention(x, x, x, ends, ends, y, lse, full(257)), ShapeError);
}

}  // namespace
}  // namespace mora::test
