#include "kernels/decode.h"

#include <gtest/gtest.h>

#include <memory>

#include "engine/parallel.h"
#include "kernels/attention.h"
#include "kernels/binary.h"
#include "kernels/copy.h"
#include "kernels/norm.h"
#include "kernels/unary.h"
#include "kernels/values.h"

namespace mora::test {
namespace {

using kernels::FrozenWeight;

struct Sizes {
  int64_t width, inner, heads, kv_heads, dim, tokens, capacity;
  int64_t window = 0;
  bool head_norms = false, biases = false;
  DType weights = DType::f32;  // of the query's alone; the others have the activations'
};

// Random blocks, a token and its cache; run by the kernel, and step by step by the kernels of the steps.
class Blocks {
 public:
  Blocks(const Sizes& sizes, DType dtype) : s_(sizes), dtype_(dtype), x_(normal({1, s_.width}, dtype)) {
    const int64_t q = s_.heads * s_.dim, kv = s_.kv_heads * s_.dim;
    cos_ = normal({1, s_.dim / 2}, DType::f32);
    sin_ = normal({1, s_.dim / 2}, DType::f32);
    for (Block& b : blocks_) {
      b.input_norm = normal({s_.width}, DType::f32);
      b.attention_norm = normal({s_.width}, DType::f32);
      if (s_.head_norms) b.query_norm = normal({s_.dim}, DType::f32);
      if (s_.head_norms) b.key_norm = normal({s_.dim}, DType::f32);
      b.query = weight(q, s_.width, s_.weights);
      b.key = weight(kv, s_.width, dtype);
      b.value = weight(kv, s_.width, dtype);
      b.attention_output = weight(s_.width, q, dtype);
      b.gate = weight(s_.inner, s_.width, dtype);
      b.up = weight(s_.inner, s_.width, dtype);
      b.down = weight(s_.width, s_.inner, dtype);
      b.keys = normal({s_.kv_heads, s_.capacity, s_.dim}, dtype);
      b.values = normal({s_.kv_heads, s_.capacity, s_.dim}, dtype);
    }
  }

  // y, then all keys and values, by the kernel.
  Values at_once(int threads) {
    const int before = mora::threads();
    set_threads(threads);
    std::vector<kernels::DecodeBlock> blocks;
    std::vector<Tensor> caches;
    const auto copy_of = [&](const Tensor& t) {
      Tensor copy = Tensor::empty(t.meta());
      kernels::copy(t, copy);
      return caches.emplace_back(copy).mutable_raw();
    };
    const auto data = [](const Tensor& t) { return t.defined() ? t.data<float>() : nullptr; };
    for (const Block& b : blocks_)
      blocks.push_back({data(b.input_norm), data(b.attention_norm), data(b.query_norm), data(b.key_norm), b.query.get(),
                        b.key.get(), b.value.get(), b.attention_output.get(), b.gate.get(), b.up.get(), b.down.get(),
                        copy_of(b.keys), copy_of(b.values), s_.capacity, s_.window});
    Tensor y = Tensor::empty(x_.meta());
    kernels::decode(x_, blocks, {s_.heads, s_.kv_heads, s_.dim, s_.tokens, cos_.data<float>(), sin_.data<float>(), eps},
                    y);
    set_threads(before);
    Values all = values_of(y);
    for (const Tensor& t : caches) append(all, t);
    return all;
  }

  Values by_steps() {
    Tensor h = x_;
    Values caches;
    for (const Block& b : blocks_) {
      h = sum(h, attention(b, norm(h, b.input_norm), caches));
      const Tensor in = norm(h, b.attention_norm), gate = product(in, *b.gate), up = product(in, *b.up);
      Tensor inner = Tensor::empty(gate.meta());
      kernels::swiglu(gate, up, inner);
      h = sum(h, product(inner, *b.down));
    }
    Values all = values_of(h);
    all.insert(all.end(), caches.begin(), caches.end());
    return all;
  }

 private:
  static constexpr float eps = 1e-5f;

  struct Block {
    Tensor input_norm, attention_norm, query_norm, key_norm, keys, values;
    std::unique_ptr<FrozenWeight> query, key, value, attention_output, gate, up, down;
  };

  Tensor normal(const Shape& shape, DType dtype) {
    return tensor_of(normal_values(shape.numel(), ++seed_), shape, dtype);
  }
  std::unique_ptr<FrozenWeight> weight(int64_t out, int64_t in, DType dtype) {
    const Values values = normal_values(out * in, ++seed_, 1 / std::sqrt(double(in)));
    return std::make_unique<FrozenWeight>(tensor_of(values, {out, in}, dtype),
                                          s_.biases ? normal({out}, dtype) : Tensor());
  }
  static void append(Values& all, const Tensor& t) {
    const Values values = values_of(t);
    all.insert(all.end(), values.begin(), values.end());
  }

  static Tensor norm(const Tensor& x, const Tensor& w) {
    Tensor y = Tensor::empty(x.meta()), rstd = Tensor::empty({x.dim(0)});
    kernels::rms_norm(x, w, y, rstd, double(eps));
    return y;
  }
  static Tensor product(const Tensor& x, const FrozenWeight& w) {
    Tensor y = Tensor::empty({x.dim(0), w.out()}, x.dtype());
    kernels::linear(x, w, y);
    return y;
  }
  static Tensor sum(const Tensor& a, const Tensor& b) {
    Tensor y = Tensor::empty(a.meta());
    kernels::binary(a, b, y, kernels::Binary::add);
    return y;
  }

  Tensor heads(const Tensor& x, const Tensor& weights, int64_t count) const {
    const Tensor rows = x.alias({count, s_.dim}, {s_.dim, 1}, 0);
    const Tensor normed = weights.defined() ? norm(rows, weights) : rows;
    Tensor y = Tensor::empty({1, count, s_.dim}, dtype_);
    kernels::rotary(normed.alias(y.shape(), y.strides(), 0), Tensor::from(std::vector<int32_t>{0}, {1}), cos_, sin_, y,
                    false);
    return y;
  }
  Tensor attention(const Block& b, const Tensor& x, Values& caches) const {
    const Tensor q = heads(product(x, *b.query), b.query_norm, s_.heads);
    const Tensor k = heads(product(x, *b.key), b.key_norm, s_.kv_heads), v = product(x, *b.value);
    const auto with_row = [&](const Tensor& cache, const Tensor& row) {
      Tensor all = Tensor::empty(cache.meta());
      kernels::copy(cache, all);
      Tensor last = all.alias({s_.kv_heads, s_.dim}, {s_.capacity * s_.dim, 1}, (s_.tokens - 1) * s_.dim);
      kernels::copy(row.alias({s_.kv_heads, s_.dim}, {s_.dim, 1}, 0), last);
      append(caches, all);
      return all.alias({s_.tokens, s_.kv_heads, s_.dim}, {s_.dim, s_.capacity * s_.dim, 1}, 0);
    };
    const auto offsets = [](int64_t end) { return Tensor::from(std::vector<int32_t>{0, int32_t(end)}, {2}); };
    const Tensor keys = with_row(b.keys, k), values = with_row(b.values, v);
    Tensor y = Tensor::empty(q.meta()), lse = Tensor::empty({1, s_.heads});
    kernels::attention(q, keys, values, offsets(1), offsets(s_.tokens), y, lse,
                       {.scale = 1 / std::sqrt(double(s_.dim)), .causal = true, .window = s_.window});
    return product(y.alias({1, s_.heads * s_.dim}, {s_.heads * s_.dim, 1}, 0), *b.attention_output);
  }

  const Sizes s_;
  const DType dtype_;
  uint64_t seed_ = 0;
  Tensor x_, cos_, sin_;
  std::array<Block, 2> blocks_;
};

TEST(Decode, GivesTheBitsOfItsStepsForAnyNumberOfThreads) {
  const std::vector<Sizes> all{
      {.width = 96, .inner = 160, .heads = 6, .kv_heads = 2, .dim = 16, .tokens = 37, .capacity = 64},
      {.width = 40, .inner = 51, .heads = 5, .kv_heads = 1, .dim = 10, .tokens = 1, .capacity = 1, .biases = true},
      {.width = 64,
       .inner = 96,
       .heads = 4,
       .kv_heads = 4,
       .dim = 32,
       .tokens = 70,
       .capacity = 70,
       .window = 9,
       .head_norms = true,
       .weights = DType::f16},
      {.width = 33,
       .inner = 20,
       .heads = 3,
       .kv_heads = 3,
       .dim = 6,
       .tokens = 8,
       .capacity = 11,
       .window = 100,
       .head_norms = true,
       .biases = true}};
  for (const Sizes& sizes : all)
    for (DType dtype : {DType::f32, DType::bf16}) {
      Blocks blocks(sizes, dtype);
      const Values expected = blocks.by_steps();
      for (int threads : {1, 2, 4, 7}) EXPECT_EQ(blocks.at_once(threads), expected) << sizes.width << " " << threads;
    }
}

}  // namespace
}  // namespace mora::test
