// Dropout by Philox 4x32-10 (engine/random.h), one block of four numbers a 32-bit lane.
//
// The i-th number of the stream is u_i = (bits_i >> 8)·2^-24, so u_i ≥ p exactly where bits_i >> 8 ≥ ⌈p·2^24⌉.
#include <cmath>

#include "kernels/cpu/elements.h"
#include "kernels/unary.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/dropout.cpp"
#include "kernels/cpu/foreach_target.h"
#include "kernels/cpu/simd.h"

HWY_BEFORE_NAMESPACE();
namespace mora::kernels::cpu::HWY_NAMESPACE {
namespace {

using Words = hn::ScalableTag<uint32_t>;
using Word = hn::Vec<Words>;

// The upper and lower halves of the 64-bit products a·m.
HWY_INLINE void multiply_wide(Word a, uint32_t m, Word& high, Word& low) {
  const Words d;
  const hn::Repartition<uint64_t, Words> d64;
  const Word factor = hn::Set(d, m);
  const auto even = hn::MulEven(a, factor);
  const auto odd = hn::MulEven(hn::BitCast(d, hn::ShiftRight<32>(hn::BitCast(d64, a))), factor);
  high = hn::OddEven(hn::BitCast(d, odd), hn::BitCast(d, hn::ShiftRight<32>(even)));
  low = hn::OddEven(hn::BitCast(d, hn::ShiftLeft<32>(odd)), hn::BitCast(d, even));
}

// numbers[4k … 4k+3] = block(first + k) of the stream, for each lane k.
HWY_INLINE void philox_blocks(uint64_t first, uint64_t seed, uint64_t stream, uint32_t* numbers) {
  const Words d;
  const Word base = hn::Set(d, uint32_t(first));
  Word c0 = hn::Add(base, hn::Iota(d, 0));
  const Word carry = hn::VecFromMask(d, hn::Lt(c0, base));  // all ones where the lower word wrapped
  Word c1 = hn::Sub(hn::Set(d, uint32_t(first >> 32)), carry);
  Word c2 = hn::Set(d, uint32_t(stream));
  Word c3 = hn::Set(d, uint32_t(stream >> 32));
  auto key0 = uint32_t(seed);
  auto key1 = uint32_t(seed >> 32);
  for (int round = 0; round < 10; ++round) {
    Word high0, low0, high1, low1;
    multiply_wide(c0, 0xD2511F53u, high0, low0);
    multiply_wide(c2, 0xCD9E8D57u, high1, low1);
    c0 = hn::Xor(hn::Xor(high1, c1), hn::Set(d, key0));
    c2 = hn::Xor(hn::Xor(high0, c3), hn::Set(d, key1));
    c1 = low1;
    c3 = low0;
    key0 += 0x9E3779B9u;
    key1 += 0xBB67AE85u;
  }
  hn::StoreInterleaved4(c0, c1, c2, c3, d, numbers);
}

// All ones in the lanes whose number is at least `threshold`.
template <class D>
HWY_INLINE hn::Mask<D> keeps(D d, const uint32_t* numbers, uint32_t threshold) {
  const hn::RebindToSigned<D> di;
  const hn::RebindToUnsigned<D> du;
  hn::Vec<decltype(du)> bits;
  if constexpr (sizeof(hn::TFromD<D>) == 8) {
    bits = hn::PromoteTo(du, hn::LoadU(hn::Rebind<uint32_t, D>(), numbers));
  } else {
    bits = hn::LoadU(du, numbers);
  }
  const auto draw = hn::BitCast(di, hn::ShiftRight<8>(bits));
  return hn::RebindMask(d, hn::Gt(draw, hn::Set(di, hn::TFromD<decltype(di)>(threshold) - 1)));
}

// Elements [begin, end), begin a multiple of 64.
template <class T>
void dropout_typed(const T* x, T* y, int64_t begin, int64_t end, double p, uint64_t seed, uint64_t stream) {
  const Tag<T> d;
  const auto scale = hn::Set(d, Compute<T>(1 / (1 - p)));
  const auto threshold = uint32_t(std::ceil(p * 0x1p24));
  const int64_t blocks = lanes(Words());
  HWY_ALIGN uint32_t numbers[4 * hn::MaxLanes(Words())];
  for (int64_t at = begin; at < end; at += 4 * blocks) {
    philox_blocks(uint64_t(at / 4), seed, stream, numbers);
    for_each_vector(d, std::min(4 * blocks, end - at), [&](int64_t i, auto... count) HWY_ATTR {
      const auto v = hn::Mul(load(d, x + at + i, count...), scale);
      store(hn::IfThenElseZero(keeps(d, numbers + i, threshold), v), d, y + at + i, count...);
    });
  }
}

void dropout_range(const Tensor& x, void* y, int64_t begin, int64_t end, double p, uint64_t seed, uint64_t stream) {
  visit_floating(x.dtype(), "dropout", [&](auto t) HWY_ATTR {
    using T = decltype(t);
    dropout_typed(x.data<T>(), static_cast<T*>(y), begin, end, p, seed, stream);
  });
}

}  // namespace
}  // namespace mora::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mora::kernels::cpu {

HWY_EXPORT(dropout_range);

void dropout(const Tensor& x, Tensor& y, double p, const RandomKey& key, const Tensor& clock) {
  invariant(
      x.shape() == y.shape() && x.is_contiguous() && y.is_contiguous() && x.dtype() == y.dtype() && p >= 0 && p <= 1,
      "dropout: {} into {}, p = {}", x.shape(), y.shape(), p);
  RandomKey now = key;
  if (clock.defined()) now.epoch = uint64_t(clock.data<int64_t>()[0]), now.step = uint64_t(clock.data<int64_t>()[1]);
  const RandomStream stream(now);
  constexpr int64_t unit = 64;  // the numbers of the widest vector of blocks
  void* out = y.mutable_raw();
  parallel_for((x.numel() + unit - 1) / unit, element_grain / unit, [&](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(dropout_range)
    (x, out, begin * unit, std::min(end * unit, x.numel()), p, stream.seed(), stream.stream());
  });
}

}  // namespace mora::kernels::cpu
#endif
