// MoRA's operators against the published formulas: C as a forward rule, ΔW as a merge rule, written apart and naively.
#include "kernels/mora_operator.h"

#include <gtest/gtest.h>

#include <array>
#include <span>

#include "engine/parallel.h"
#include "kernels/values.h"

namespace mora::kernels {
namespace {

using test::normal_values;
using test::tensor_of;
using test::Values;
using test::values_of;
using enum OperatorKind;

constexpr OperatorKind kinds[] = {truncation,    sharing,  group,    group_sharing,
                                  sharing_group, decouple, rotation, rotation_full};

struct Sizes {
  int64_t k, d, rank;
};
// Divisible and not, k > d, k < d, d > n·r̂, r̂ = k, r̂ > k, r̂ > 2k, r̂ > d.
constexpr Sizes sizes[] = {{24, 24, 6}, {24, 36, 8},  {25, 31, 6},  {40, 12, 6}, {41, 13, 8}, {9, 40, 4},
                           {10, 30, 4}, {12, 12, 12}, {10, 17, 14}, {5, 23, 12}, {30, 4, 10}, {7, 3, 2}};

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// The matrix of block `chunk`: M·cos + [M₂, −M₁]·sin (r̂, r̂).
Values rotated(const Values& m, int64_t r, int64_t chunk) {
  Values out(m.size());
  for (int64_t i = 0; i < r; ++i)
    for (int64_t j = 0; j < r; ++j) {
      const int64_t half = r / 2;
      const double angle = double(chunk) * std::pow(10000.0, -2.0 * double(j % half) / double(r));
      const double turned = j < half ? m[size_t(i * r + j + half)] : -m[size_t(i * r + j - half)];
      out[size_t(i * r + j)] = m[size_t(i * r + j)] * std::cos(angle) + turned * std::sin(angle);
    }
  return out;
}

// The group of position p where `wide` positions form r contiguous groups, the first (wide mod r) longer by one.
int64_t group_of(int64_t p, int64_t wide, int64_t r) {
  const int64_t q = wide / r, longer = wide % r;
  return p < longer * (q + 1) ? p / (q + 1) : longer + (p - longer * (q + 1)) / q;
}

// ΔW (d, k) by the merge rules of the published code.
Values delta(OperatorKind kind, Sizes s, const Values& m) {
  const auto [k, d, r] = s;
  Values w(size_t(d * k));
  const int64_t n = ceil_div(k, r), padded = n * r;
  const bool rotates = kind == rotation || kind == rotation_full;
  if (rotates || kind == decouple) {
    const int64_t rows = std::min(n, ceil_div(d, r));
    for (int64_t o = 0; o < d; ++o) {
      const int64_t place = o % (rows * r);  // which output of which chunk
      for (int64_t c = place / r; c < (kind == rotation_full ? n : place / r + 1); c += rows) {
        const Values block = rotates ? rotated(m, r, c) : m;
        for (int64_t j = 0; j < r; ++j) w[size_t(o * k + (c * r + j) % k)] += block[size_t(place % r * r + j)];
      }
    }
    return w;
  }
  for (int64_t o = 0; o < d; ++o) {
    int64_t row = o % r;
    if (kind == group || kind == sharing_group) row = group_of(o, d, r);
    if (kind == truncation && o >= r) continue;
    if (kind == group || kind == group_sharing)
      for (int64_t i = 0; i < k; ++i) w[size_t(o * k + i)] += m[size_t(row * r + group_of(i, k, r))];
    else if (kind == truncation)
      for (int64_t i = 0; i < std::min(k, r); ++i) w[size_t(o * k + i)] += m[size_t(row * r + i)];
    else
      for (int64_t i = 0; i < padded; ++i) w[size_t(o * k + i % k)] += m[size_t(row * r + i % r)];
  }
  return w;
}

// y (rows, n) = x (rows, k) · wᵀ, w (n, k)
Values times(const Values& x, const Values& w, int64_t k, int64_t n) {
  Values y;
  for (size_t row = 0; row < x.size() / size_t(k); ++row)
    for (int64_t o = 0; o < n; ++o) {
      double sum = 0;
      for (int64_t i = 0; i < k; ++i) sum += x[row * size_t(k) + size_t(i)] * w[size_t(o * k + i)];
      y.push_back(sum);
    }
  return y;
}

double dot(const Tensor& a, const Tensor& b) {
  const Values x = values_of(a), y = values_of(b);
  double sum = 0;
  for (size_t i = 0; i < x.size(); ++i) sum += x[i] * y[i];
  return sum;
}

Values compressed(const MoraOperator& op, const Values& x) {
  const int64_t tokens = int64_t(x.size()) / op.in;
  Tensor s = Tensor::empty({tokens, op.chunks(), op.rank}, DType::f64);
  mora_compress(tensor_of(x, {tokens, op.in}, DType::f64), s, op);
  return values_of(s);
}

Values decompressed(const MoraOperator& op, const Values& z) {
  const int64_t tokens = int64_t(z.size()) / (op.chunks() * op.rank);
  Tensor y = Tensor::empty({tokens, op.out}, DType::f64);
  mora_decompress(tensor_of(z, {tokens, op.chunks(), op.rank}, DType::f64), y, op, false);
  return values_of(y);
}

TEST(MoraOperator, ForwardEqualsTheMergedUpdate) {
  for (OperatorKind kind : kinds)
    for (const Sizes& s : sizes) {
      const MoraOperator op{kind, s.k, s.d, s.rank};
      const Values m = normal_values(s.rank * s.rank, 1), x = normal_values(3 * s.k, 2);
      const Values y = decompressed(op, times(compressed(op, x), m, s.rank, s.rank));
      EXPECT_LE(test::difference(y, times(x, delta(kind, s, m), s.k, s.d)), 1e-10)
          << "kind " << int(kind) << " k " << s.k << " d " << s.d << " r̂ " << s.rank;
    }
}

TEST(MoraOperator, HandComputed) {
  const Values x = {1, 2, 3, 4, 5};
  EXPECT_EQ(compressed({truncation, 5, 3, 2}, x), (Values{1, 2}));
  EXPECT_EQ(compressed({sharing, 5, 3, 2}, x), (Values{1 + 3 + 5, 2 + 4 + 1}));  // 1 2 | 3 4 | 5 1
  EXPECT_EQ(compressed({group, 5, 3, 2}, x), (Values{1 + 2 + 3, 4 + 5}));
  EXPECT_EQ(compressed({decouple, 5, 6, 2}, x), (Values{1, 2, 3, 4, 5, 1}));
  EXPECT_EQ(compressed({sharing, 2, 3, 5}, {7, 8}), (Values{7, 8, 7, 8, 7}));
  EXPECT_EQ(compressed({group, 2, 3, 4}, {7, 8}), (Values{7, 8, 0, 0}));
  EXPECT_EQ(compressed({truncation, 2, 3, 4}, {7, 8}), (Values{7, 8, 0, 0}));
  const Values turned = compressed({rotation, 4, 4, 2}, {1, 2, 3, 4});  // chunk 1 by one radian
  EXPECT_EQ(turned[0], 1);
  EXPECT_EQ(turned[1], 2);
  EXPECT_NEAR(turned[2], 3 * std::cos(1) - 4 * std::sin(1), 1e-15);
  EXPECT_NEAR(turned[3], 4 * std::cos(1) + 3 * std::sin(1), 1e-15);
  EXPECT_EQ(decompressed({truncation, 5, 4, 2}, {1, 2}), (Values{1, 2, 0, 0}));
  EXPECT_EQ(decompressed({sharing, 5, 5, 2}, {1, 2}), (Values{1, 2, 1, 2, 1}));
  EXPECT_EQ(decompressed({group, 5, 5, 2}, {1, 2}), (Values{1, 1, 1, 2, 2}));
  EXPECT_EQ(decompressed({decouple, 4, 6, 2}, {1, 2, 3, 4}), (Values{1, 2, 3, 4, 1, 2}));
}

TEST(MoraOperator, RotationLeavesInputsUnreadAndItsFullFormReadsThem) {
  const Values x = {0, 0, 0, 0, 0, 0, 1, 1};  // the last two of eight inputs, two outputs
  EXPECT_EQ(compressed({rotation, 8, 2, 2}, x), (Values{0, 0}));
  EXPECT_NE(compressed({rotation_full, 8, 2, 2}, x), (Values{0, 0}));
  EXPECT_EQ((MoraOperator{rotation, 11008, 4096, 344}.chunks()), 12);
  EXPECT_EQ((MoraOperator{rotation, 4096, 11008, 344}.chunks()), 12);
  EXPECT_EQ((MoraOperator{sharing, 4096, 11008, 344}.chunks()), 1);
}

TEST(MoraOperator, AdjointsInEveryDType) {
  for (OperatorKind kind : kinds)
    for (const Sizes& s : sizes)
      for (DType dtype : {DType::f64, DType::f32, DType::bf16}) {
        const MoraOperator op{kind, s.k, s.d, s.rank};
        const Shape narrow{5, op.chunks(), s.rank};
        const double allowed = test::tolerance(dtype) * 20;  // sums over all elements of five tokens
        const Tensor x = tensor_of(normal_values(5 * s.k, 1), {5, s.k}, dtype);
        const Tensor gs = tensor_of(normal_values(narrow.numel(), 2), narrow, dtype);
        Tensor cx = Tensor::empty(narrow, dtype), cgs = Tensor::empty({5, s.k}, dtype);
        mora_compress(x, cx, op);
        mora_compress_adjoint(gs, cgs, op, false);
        EXPECT_NEAR(dot(cx, gs), dot(x, cgs), allowed) << int(kind) << " C " << s.k << " " << s.d << " " << s.rank;
        const Tensor gy = tensor_of(normal_values(5 * s.d, 3), {5, s.d}, dtype);
        Tensor dz = Tensor::empty({5, s.d}, dtype), dgy = Tensor::empty(narrow, dtype);
        mora_decompress(gs, dz, op, false);
        mora_decompress_adjoint(gy, dgy, op);
        EXPECT_NEAR(dot(dz, gy), dot(gs, dgy), allowed) << int(kind) << " D " << s.k << " " << s.d << " " << s.rank;
      }
}

TEST(MoraOperator, CompressAdjointAddsWhereAsked) {
  for (OperatorKind kind : kinds)
    for (DType dtype : {DType::f64, DType::f32, DType::bf16}) {
      const MoraOperator op{kind, 25, 31, 6};
      const Tensor gs = tensor_of(normal_values(2 * op.chunks() * 6, 1), {2, op.chunks(), 6}, dtype);
      Tensor gx = tensor_of(normal_values(50, 2), {2, 25}, dtype), alone = Tensor::empty({2, 25}, dtype);
      Values expected = values_of(gx);
      mora_compress_adjoint(gs, gx, op, true);
      mora_compress_adjoint(gs, alone, op, false);
      const Values added = values_of(alone);
      for (size_t i = 0; i < expected.size(); ++i) expected[i] += added[i];
      EXPECT_LE(test::difference(values_of(gx), expected), test::tolerance(dtype)) << int(kind);
    }
}

TEST(MoraOperator, DecompressAddsWhereAsked) {
  for (OperatorKind kind : kinds)
    for (DType dtype : {DType::f64, DType::f32, DType::bf16}) {
      const MoraOperator op{kind, 25, 31, 6};
      const Tensor z = tensor_of(normal_values(2 * op.chunks() * 6, 1), {2, op.chunks(), 6}, dtype);
      Tensor y = tensor_of(normal_values(62, 2), {2, 31}, dtype);
      Values expected = values_of(y);
      mora_decompress(z, y, op, true);
      const Values added = decompressed(op, values_of(z));
      for (size_t i = 0; i < expected.size(); ++i) expected[i] += added[i];
      EXPECT_LE(test::difference(values_of(y), expected), test::tolerance(dtype)) << int(kind);
    }
}

// y, gx and gM of a linear with a MoRA in `dtype`.
std::array<Tensor, 3> results(const MoraOperator& op, int64_t tokens, DType dtype) {
  const auto random = [&](const Shape& shape, uint64_t seed) { return test::short_normal(shape, seed, dtype); };
  const Tensor x = random({tokens, op.in}, 1), m = random({op.rank, op.rank}, 2), gy = random({tokens, op.out}, 3);
  const FrozenWeight w(random({op.out, op.in}, 4), random({op.out}, 5));
  Tensor y = Tensor::empty(gy.shape(), dtype), gx = Tensor::empty(x.shape(), dtype),
         gm = Tensor::empty(m.shape(), dtype);
  mora_linear(x, w, m, y, op);
  mora_linear_backward(x, w, m, gy, gx, gm, op);
  return {y, gx, gm};
}

TEST(MoraOperator, LinearsAreTheirOperatorsInF64) {
  constexpr Sizes more[] = {{48, 64, 16}, {100, 60, 26}, {90, 200, 34}};
  for (OperatorKind kind : kinds)
    for (int64_t tokens : {0, 1, 7, 131})
      for (const auto& list : {std::span<const Sizes>(sizes), std::span<const Sizes>(more)})
        for (const Sizes& s : list) {
          const MoraOperator op{kind, s.k, s.d, s.rank};
          const auto expected = results(op, tokens, DType::f64);
          for (DType dtype : {DType::f32, DType::bf16, DType::f16}) {
            const auto got = results(op, tokens, dtype);
            for (size_t i = 0; i < 3; ++i) {
              const Values values = values_of(expected[i]);
              EXPECT_LE(test::difference(values_of(got[i]), values), 4 * test::tolerance(dtype) * test::largest(values))
                  << int(kind) << " " << tokens << " tokens, " << s.k << " " << s.d << " " << s.rank << " " << i << " "
                  << name_of(dtype);
            }
          }
        }
}

TEST(MoraOperator, LinearsDoNotDependOnTheThreads) {
  const int before = threads();
  for (OperatorKind kind : {sharing, rotation}) {
    const MoraOperator op{kind, 100, 60, 26};
    set_threads(1);
    const auto alone = results(op, 700, DType::f32);
    set_threads(3);
    const auto together = results(op, 700, DType::f32);
    for (size_t i = 0; i < 3; ++i) EXPECT_EQ(values_of(alone[i]), values_of(together[i])) << int(kind) << " " << i;
  }
  set_threads(before);
}

TEST(MoraOperator, BackwardComputesWhatIsAskedAlone) {
  const MoraOperator op{rotation, 25, 31, 6};
  const Tensor x = tensor_of(normal_values(75, 1), {3, 25}, DType::f32),
               m = tensor_of(normal_values(36, 2), {6, 6}, DType::f32);
  const Tensor gy = tensor_of(normal_values(93, 3), {3, 31}, DType::f32);
  const FrozenWeight w(tensor_of(normal_values(775, 4), {31, 25}, DType::f32), {});
  Tensor gx = Tensor::zeros({3, 25}), gm = Tensor::zeros({6, 6}), none;
  mora_linear_backward(x, w, m, gy, gx, gm, op);
  Tensor gx_alone = Tensor::zeros({3, 25}), gm_alone = Tensor::zeros({6, 6});
  mora_linear_backward(x, w, m, gy, gx_alone, none, op);
  mora_linear_backward(x, w, m, gy, none, gm_alone, op);
  EXPECT_EQ(values_of(gx), values_of(gx_alone));
  EXPECT_EQ(values_of(gm), values_of(gm_alone));
}

TEST(MoraOperator, RefusesWhatDoesNotFit) {
  EXPECT_THROW((MoraOperator{rotation, 4, 4, 3}.check()), ShapeError);
  EXPECT_THROW((MoraOperator{sharing, 4, 4, 0}.check()), ShapeError);
  Tensor s = Tensor::empty({2, 1, 2});
  EXPECT_THROW(mora_compress(Tensor::zeros({2, 5}), s, {sharing, 4, 4, 2}), ShapeError);
  Tensor wide = Tensor::empty({2, 1, 2}, DType::f64);
  EXPECT_THROW(mora_compress(Tensor::zeros({2, 4}), wide, {sharing, 4, 4, 2}), DTypeError);
  Tensor y = Tensor::zeros({2, 4});
  const FrozenWeight w(Tensor::zeros({4, 4}), {}), other(Tensor::zeros({4, 5}), {});
  const MoraOperator op{sharing, 4, 4, 2};
  EXPECT_THROW(mora_linear(Tensor::zeros({2, 4}), w, Tensor::zeros({3, 3}), y, op), ShapeError);
  EXPECT_THROW(mora_linear(Tensor::zeros({2, 4}), w, Tensor::zeros({2, 2}, DType::bf16), y, op), DTypeError);
  EXPECT_THROW(mora_linear(Tensor::zeros({2, 4}), other, Tensor::zeros({2, 2}), y, op), ShapeError);
}

}  // namespace
}  // namespace mora::kernels
