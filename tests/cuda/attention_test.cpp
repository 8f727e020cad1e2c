#include "kernels/attention.h"

#include <numeric>

#include "cuda/twin.h"
#include "kernels/cuda/attention.h"
#include "kernels/cuda/attention_path.h"
#include "kernels/cuda/tensor_view.h"

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
    const Tensor &q_ends = t[3], &kv_ends = p.queries == p.keys ? t[3] : t[4];
    Tensor gq = queries(t[8]), gk = keys(t[9]), gv = keys(t[10]);
    kernels::attention(q, k, v, q_ends, kv_ends, t[6], t[7], p.shape);
    kernels::attention_backward(q, k, v, q_ends, kv_ends, t[6], t[7], t[5], gq, gk, gv, p.shape);
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

TEST(SimtAttention, OffsetsAsCudnnCountsThem) {
  constexpr int64_t room = 4, width = room + 1, tensors = kernels::cuda::RaggedView::tensors;
  const Tensor ends = offsets({3, 0, 2}).to(device);
  Tensor starts = unwritten({tensors, width}, DType::i64).to(device),
         lengths = unwritten({room}, DType::i32).to(device);
  kernels::cuda::RaggedView view{.offsets = kernels::cuda::view(ends),
                                 .starts = kernels::cuda::output(starts),
                                 .lengths = kernels::cuda::output(lengths)};
  for (int64_t i = 0; i < tensors; ++i) view.token_strides[i] = (i + 1) << 30;  // beyond 31 bits
  kernels::cuda::launch_ragged(view);
  const Tensor there = starts.to(cpu);
  for (int64_t i = 0; i < tensors; ++i) {
    const auto row = there.values<int64_t>().subspan(size_t(i * width), width);
    const int64_t stride = (i + 1) << 30;
    EXPECT_EQ(std::vector(row.begin(), row.end()),
              (std::vector<int64_t>{0, 3 * stride, 3 * stride, 5 * stride, 5 * stride}));
  }
  const Tensor counts = lengths.to(cpu);
  EXPECT_EQ(std::vector(counts.values<int32_t>().begin(), counts.values<int32_t>().end()),
            (std::vector<int32_t>{3, 0, 2, 0}));
}

TEST(AttentionPath, IsOneOfThree) {
  using kernels::cuda::AttentionPath;
  EXPECT_EQ(kernels::cuda::parse_attention_path("own"), AttentionPath::own);
  EXPECT_EQ(kernels::cuda::parse_attention_path("fastest"), AttentionPath::fastest);
  EXPECT_EQ(kernels::cuda::parse_attention_path("cudnn"), AttentionPath::cudnn);
  EXPECT_THROW(kernels::cuda::parse_attention_path("flash"), ConfigError);
}

// Where there is no cuDNN for it, an attention that must be cuDNN's is an error, and the fastest is ours.
TEST(AttentionPath, WithoutCudnnForAShape) {
  const Problem problem{2, 1, 20, {3, 5}, {3, 5}, causal(20)};
  {
    const kernels::cuda::ScopedAttentionPath scope(kernels::cuda::AttentionPath::fastest);
    expect_attention(problem, DType::f32);
  }
  const kernels::cuda::ScopedAttentionPath scope(kernels::cuda::AttentionPath::cudnn);
  try {
    expect_attention(problem, DType::f32);
    FAIL() << "cuDNN has no attention of f32";
  } catch (const DeviceError& error) {
    EXPECT_TRUE(std::string_view(error.what()).starts_with("MORA_ATTENTION=cudnn: ")) << error.what();
  }
}

// cuDNN's attention beside the processor's, as ours above. On a card alone: the emulator has no cuDNN.
class CudnnAttention : public testing::Test {
 protected:
  void SetUp() override {
    try {
      expect_attention({2, 2, 64, {64}, {64}, causal(64)}, DType::bf16, 8);
    } catch (const DeviceError& error) {  // no library, no such card; what cuDNN itself complains of is a failure
      const std::string_view what = error.what(), refused = "MORA_ATTENTION=cudnn: ";
      if (!what.starts_with(refused) || what.substr(refused.size()).starts_with("cuDNN: ")) throw;
      GTEST_SKIP() << what;
    }
  }

 private:
  kernels::cuda::ScopedAttentionPath scope_{kernels::cuda::AttentionPath::cudnn};
};

TEST_F(CudnnAttention, EveryHeadSizeAndMask) {
  for (const int64_t dim : {64, 80, 96, 128}) {
    for (const DType dtype : {DType::bf16, DType::f16}) {
      SCOPED_TRACE(fmt::format("{} D {}", name_of(dtype), dim));
      expect_attention({4, 4, dim, {150, 0, 1, 67}, {150, 0, 1, 67}, causal(dim)}, dtype, 8);
      expect_attention({4, 4, dim, {150, 0, 1, 67}, {150, 0, 1, 67}, full(dim)}, dtype, 8);
    }
  }
}

TEST_F(CudnnAttention, GroupedQueriesAndStrides) {
  for (const int64_t kv_heads : {1, 2, 6})
    for (const int64_t gap : {0, 8})
      expect_attention({6, kv_heads, 64, {300, 5}, {300, 5}, causal(64), gap}, DType::bf16, 8);
}

TEST_F(CudnnAttention, TheFasterOfBoth) {
  const kernels::cuda::ScopedAttentionPath scope(kernels::cuda::AttentionPath::fastest);
  for (int i = 0; i < 2; ++i)
    expect_attention({4, 2, 64, {150, 0, 1, 67}, {150, 0, 1, 67}, causal(64)}, DType::bf16, 8);
}

}  // namespace
}  // namespace mora::test
