// Every weight is read once a token, so that the time is that of reading them: the threads pass through all blocks side
// by side and meet only where one needs what the others computed. Each has its own h and computes all of what is short,
// norms and SwiGLU, rather than wait for it; the rows of the products are shared out.
#include "kernels/decode.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <deque>
#include <vector>

#include "engine/team.h"
#include "kernels/cpu/gemv.h"
#include "kernels/cpu/scratch.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/decode.cpp"
#include "kernels/cpu/foreach_target.h"

#include "kernels/cpu/gemv_rows.h"
#include "kernels/cpu/norm_rows.h"
#include "kernels/cpu/query_heads.h"
#include "kernels/cpu/rotate.h"
#include "kernels/cpu/simd_math.h"

HWY_BEFORE_NAMESPACE();
namespace mora::kernels::cpu::HWY_NAMESPACE {
namespace {

// The products of a block.
struct BlockTerms {
  std::array<GemvTerm, 3> qkv;
  std::array<GemvTerm, 1> attention_output;
  std::array<GemvTerm, 2> gate_up;
  std::array<GemvTerm, 1> down;
};

// What the threads share: written in parts, and read after a meeting.
template <class T>
struct Shared {
  const std::span<const DecodeBlock> blocks;
  const DecodeShape shape;
  const int64_t width, inner;  // d; of SwiGLU
  const Scratch<T> memory;
  T *const q, *const k, *const v, *const attended;  // (H, D), (G, D)
  T *const gate, *const up, *const output;          // (inner), (d)
  const std::array<int32_t, 2> queries, keys;       // offsets
  std::vector<BlockTerms> terms;

  Shared(int64_t d, std::span<const DecodeBlock> all, const DecodeShape& s)
      : blocks(all),
        shape(s),
        width(d),
        inner(all.front().gate->out()),
        memory(2 * (s.heads + s.kv_heads) * s.dim + 2 * inner + width),
        q(memory.data()),
        k(q + s.heads * s.dim),
        v(k + s.kv_heads * s.dim),
        attended(v + s.kv_heads * s.dim),
        gate(attended + s.heads * s.dim),
        up(gate + inner),
        output(up + inner),
        queries{0, 1},
        keys{0, int32_t(s.tokens)} {
    const auto term = [](const FrozenWeight* w, T* to) { return gemv_term(*w, dtype_of<T>, to); };
    for (const DecodeBlock& block : blocks)
      terms.push_back({{term(block.query, q), term(block.key, k), term(block.value, v)},
                       {term(block.attention_output, output)},
                       {term(block.gate, gate), term(block.up, up)},
                       {term(block.down, output)}});
  }

  QueryInputs attention(const DecodeBlock& block) const {
    const auto rows = [&](const void* data, int64_t capacity) {
      return HeadRows(data, dtype_of<T>, shape.dim, capacity * shape.dim);
    };
    const AttentionPlan plan{
        .sequences = 1,
        .heads = shape.heads,
        .kv_heads = shape.kv_heads,
        .group = shape.heads / shape.kv_heads,
        .dim = shape.dim,
        .q_offsets = queries.data(),
        .kv_offsets = keys.data(),
        .longest = shape.tokens,
        .shape = {.scale = 1 / std::sqrt(double(shape.dim)), .causal = true, .window = block.window}};
    return {plan,   rows(q, 1), rows(block.keys, block.capacity), rows(block.values, block.capacity), rows(attended, 1),
            nullptr};
  }
};

// E: what queries and keys are multiplied as.
template <class T, class E>
class DecodeThread {
 public:
  explicit DecodeThread(const Shared<T>& shared)
      : s_(shared),
        widest_(std::max({shared.width, shared.inner, shared.shape.heads * shared.shape.dim})),
        memory_(2 * widest_),
        widened_(std::is_same_v<T, float> ? 0 : widest_),
        hidden_(memory_.data()),
        normed_(hidden_ + widest_),
        heads_(shared.shape.tokens, shared.shape.dim) {}

  void run(TeamMember& team, const T* x, T* y) {
    std::copy_n(x, s_.width, hidden_);
    for (size_t i = 0; i < s_.blocks.size(); ++i) {
      attend(s_.blocks[i], s_.terms[i], team);
      const bool is_last = i + 1 == s_.blocks.size();
      feed_forward(s_.blocks[i], s_.terms[i], is_last ? std::span<const GemvTerm>() : s_.terms[i + 1].qkv, team);
    }
    if (team.index() == 0) std::copy_n(hidden_, s_.width, y);
  }

 private:
  void attend(const DecodeBlock& block, const BlockTerms& terms, TeamMember& team) {
    const DecodeShape& shape = s_.shape;
    norm(block.input_norm, hidden_, s_.width, normed_);
    multiply(terms.qkv, normed_, s_.width, terms.attention_output, team);
    append(block, team.begin(shape.kv_heads), team.end(shape.kv_heads));
    team.meet();
    const int64_t begin = team.begin(shape.heads), end = team.end(shape.heads);
    for (int64_t head = begin; head < end; ++head) {
      T* q = s_.q + head * shape.dim;
      turn(block.query_norm, q, q);
    }
    heads_.run(s_.attention(block), begin, end);
    team.meet();
    multiply(terms.attention_output, s_.attended, shape.heads * shape.dim, terms.gate_up, team);
    add(s_.output);
  }

  void feed_forward(const DecodeBlock& block, const BlockTerms& terms, std::span<const GemvTerm> next,
                    TeamMember& team) {
    norm(block.attention_norm, hidden_, s_.width, normed_);
    multiply(terms.gate_up, normed_, s_.width, terms.down, team);
    const Tag<T> d;
    map(
        d, s_.inner, [&](auto gate, auto up) HWY_ATTR { return hn::Mul(silu(d, gate), up); }, normed_, s_.gate, s_.up);
    multiply(terms.down, normed_, s_.inner, next, team);
    add(s_.output);
  }

  // This thread's rows of a product with x (k), then the beginning of those of the next product is asked for. All
  // threads have theirs at the return.
  void multiply(std::span<const GemvTerm> terms, const T* x, int64_t k, std::span<const GemvTerm> next,
                TeamMember& team) {
    const int64_t rows = rows_of(terms);
    multiply_rows<T>(terms, factors_for(terms, x, k, widened_.data()), 1, team.begin(rows), team.end(rows),
                     row_of(next, team.begin(rows_of(next))));
    team.meet();
  }

  // The token's keys and values of some heads go to the cache.
  void append(const DecodeBlock& block, int64_t begin, int64_t end) {
    const int64_t dim = s_.shape.dim;
    for (int64_t head = begin; head < end; ++head) {
      const int64_t row = (head * block.capacity + s_.shape.tokens - 1) * dim;
      turn(block.key_norm, s_.k + head * dim, static_cast<T*>(block.keys) + row);
      std::copy_n(s_.v + head * dim, dim, static_cast<T*>(block.values) + row);
    }
  }

  // y (D) = x, normed where there are weights, and turned by the angles of the position. x is not kept.
  void turn(const float* weights, T* x, T* y) {
    if (weights) norm(weights, x, s_.shape.dim, x);
    rotate(x, s_.shape.cos, s_.shape.sin, y, s_.shape.dim / 2, false);
  }

  void norm(const float* weights, const T* x, int64_t length, T* y) {
    float rstd;
    NormRows<T>{x, weights, nullptr, y, nullptr, &rstd, length, s_.shape.eps}.rows(0, 1);
  }

  void add(const T* x) {
    map(
        Tag<T>(), s_.width, [](auto a, auto b) HWY_ATTR { return hn::Add(a, b); }, hidden_, hidden_, x);
  }

  const Shared<T>& s_;
  const int64_t widest_;
  const Scratch<T> memory_;
  const Scratch<float> widened_;
  T *const hidden_, *const normed_;  // h; what is multiplied next
  const QueryHeads<E, T> heads_;
};

template <class T, class E>
void decode_as(const Tensor& x, std::span<const DecodeBlock> blocks, const DecodeShape& shape, Tensor& y) {
  const Shared<T> shared(x.dim(1), blocks, shape);
  std::deque<DecodeThread<T, E>> memory;
  for (int i = 0; i < threads(); ++i) memory.emplace_back(shared);
  T* to = y.mutable_data<T>();
  with_team([&](TeamMember& member) { memory[size_t(member.index())].run(member, x.data<T>(), to); });
}

void run_decode(const Tensor& x, std::span<const DecodeBlock> blocks, const DecodeShape& shape, Tensor& y) {
  if (x.dtype() == DType::f32) return decode_as<float, float>(x, blocks, shape, y);
#if HWY_TARGET == HWY_AVX3 && HWY_ARCH_X86_64
  if (has_bf16_pairs()) return decode_as<bf16_t, Bf16Pair>(x, blocks, shape, y);
#endif
  decode_as<bf16_t, float>(x, blocks, shape, y);
}

}  // namespace
}  // namespace mora::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mora::kernels {
namespace cpu {
namespace {

HWY_EXPORT(run_decode);

}  // namespace
}  // namespace cpu

void decode(const Tensor& x, std::span<const DecodeBlock> blocks, const DecodeShape& shape, Tensor& y) {
  using namespace cpu;
  HWY_DYNAMIC_DISPATCH(run_decode)(x, blocks, shape, y);
}

}  // namespace mora::kernels
#endif
