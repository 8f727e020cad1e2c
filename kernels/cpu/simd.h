// Vectors of f32 or f64 from memory of any floating dtype, and back. Included after kernels/cpu/foreach_target.h, once
// for each instruction set; see there.
//
// Arithmetic is f32, f64 for f64: `Tag<T>` are the lanes that compute on memory of T.
//   load(d, p)      Lanes(d) elements at p          store(v, d, p)
//   load(d, p, n)   the first n of them, then zeros  store(v, d, p, n)
// Partial loads and stores touch nothing beyond p + n. 16-bit stores round to nearest even, and what is
// subnormal in bf16 may become 0.
#ifndef MORA_KERNELS_CPU_SIMD_ONCE
#define MORA_KERNELS_CPU_SIMD_ONCE
namespace mora::kernels::cpu {
#if defined(__x86_64__)
// Whether the processor rounds f32 to bf16 in one instruction, which none of the sets below has.
inline const bool converts_bf16 = __builtin_cpu_supports("avx512bf16") != 0;
#endif
}  // namespace mora::kernels::cpu
#endif

#if defined(MORA_KERNELS_CPU_SIMD_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef MORA_KERNELS_CPU_SIMD_H_
#undef MORA_KERNELS_CPU_SIMD_H_
#else
#define MORA_KERNELS_CPU_SIMD_H_
#endif

#include <hwy/highway.h>

#include <bit>
#include <cstring>
#include <type_traits>

#include "engine/dtype.h"

HWY_BEFORE_NAMESPACE();
namespace mora::kernels::cpu::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

template <class T>
using Tag = hn::ScalableTag<Compute<T>>;

template <class D>
HWY_INLINE int64_t lanes(D d) {
  return int64_t(hn::Lanes(d));
}

// The first n lanes of lane-sized memory; zeros after them.
template <class D>
HWY_INLINE hn::Vec<D> load_lanes(D d, const hn::TFromD<D>* p, int64_t n) {
  using T = hn::TFromD<D>;
  if constexpr (HWY_TARGET == HWY_AVX3 || (HWY_TARGET == HWY_AVX2 && sizeof(T) >= 4)) {
    return hn::MaskedLoad(hn::FirstN(d, size_t(n)), d, p);
  } else {  // a masked load of these sets may read whole vectors
    HWY_ALIGN T buffer[hn::MaxLanes(d)] = {};
    std::memcpy(buffer, p, size_t(n) * sizeof(T));
    return hn::Load(d, buffer);
  }
}

template <class D>
HWY_INLINE void store_lanes(hn::Vec<D> v, D d, hn::TFromD<D>* p, int64_t n) {
  using T = hn::TFromD<D>;
  if constexpr (HWY_TARGET == HWY_AVX3 || (HWY_TARGET == HWY_AVX2 && sizeof(T) >= 4)) {
    hn::BlendedStore(v, hn::FirstN(d, size_t(n)), d, p);
  } else {
    HWY_ALIGN T buffer[hn::MaxLanes(d)];
    hn::Store(v, d, buffer);
    std::memcpy(p, buffer, size_t(n) * sizeof(T));
  }
}

// The bits of a 16-bit float T, in the lower half of 32-bit lanes' worth of vector, to and from f32 lanes.
template <class T, class D>
HWY_INLINE hn::Vec<D> widen(D d, hn::Vec<hn::Rebind<uint16_t, D>> bits) {
  if constexpr (std::is_same_v<T, bf16_t>) {
    const hn::RebindToUnsigned<D> du32;
    return hn::BitCast(d, hn::ShiftLeft<16>(hn::PromoteTo(du32, bits)));
  } else if constexpr (HWY_TARGET == HWY_SSE4) {  // no conversion instruction; Highway's stand-in takes no infinities
    HWY_ALIGN uint16_t from[hn::MaxLanes(d)];
    HWY_ALIGN float to[hn::MaxLanes(d)];
    hn::Store(bits, hn::Rebind<uint16_t, D>(), from);
    for (size_t i = 0; i < hn::Lanes(d); ++i) to[i] = float(std::bit_cast<f16_t>(from[i]));
    return hn::Load(d, to);
  } else {
    return hn::PromoteTo(d, hn::BitCast(hn::Rebind<hwy::float16_t, D>(), bits));
  }
}

template <class T, class D>
HWY_INLINE hn::Vec<hn::Rebind<uint16_t, D>> narrow(D d, hn::Vec<D> v) {
  const hn::Rebind<uint16_t, D> du16;
  if constexpr (std::is_same_v<T, bf16_t>) {  // as bf16_t(float)
#if HWY_TARGET == HWY_AVX3 && HWY_ARCH_X86_64
    if constexpr (std::is_same_v<D, hn::ScalableTag<float>>) {
      if (converts_bf16) {  // a loop asks once: the compiler makes two of it
        hn::Vec<decltype(du16)> bits;
        asm("vcvtneps2bf16 %1, %0" : "=v"(bits.raw) : "v"(v.raw));
        return bits;
      }
    }
#endif
    const hn::RebindToUnsigned<D> du32;
    const auto u = hn::BitCast(du32, v);
    const auto lsb = hn::And(hn::ShiftRight<16>(u), hn::Set(du32, 1));
    const auto rounded = hn::Add(u, hn::Add(lsb, hn::Set(du32, 0x7FFF)));
    const auto quiet = hn::Or(u, hn::Set(du32, 0x400000));
    const auto nan = hn::RebindMask(du32, hn::IsNaN(v));
    return hn::TruncateTo(du16, hn::ShiftRight<16>(hn::IfThenElse(nan, quiet, rounded)));
  } else if constexpr (HWY_TARGET == HWY_SSE4) {  // no conversion instruction
    HWY_ALIGN float from[hn::MaxLanes(d)];
    HWY_ALIGN uint16_t to[hn::MaxLanes(d)];
    hn::Store(v, d, from);
    for (size_t i = 0; i < hn::Lanes(d); ++i) to[i] = f16_t(from[i]).bits;
    return hn::Load(du16, to);
  } else {
    return hn::BitCast(du16, hn::DemoteTo(hn::Rebind<hwy::float16_t, D>(), v));
  }
}

template <class D, class T>
HWY_INLINE hn::Vec<D> load(D d, const T* p) {
  using Lane = hn::TFromD<D>;
  if constexpr (std::is_same_v<T, Lane>) {
    return hn::LoadU(d, p);
  } else if constexpr (std::is_same_v<Lane, double>) {
    return hn::PromoteTo(d, load(hn::Rebind<float, D>(), p));
  } else {
    static_assert(sizeof(T) == 2 && std::is_same_v<Lane, float>);
    return widen<T>(d, hn::LoadU(hn::Rebind<uint16_t, D>(), reinterpret_cast<const uint16_t*>(p)));
  }
}

template <class D, class T>
HWY_INLINE hn::Vec<D> load(D d, const T* p, int64_t n) {
  using Lane = hn::TFromD<D>;
  if constexpr (std::is_same_v<T, Lane>) {
    return load_lanes(d, p, n);
  } else if constexpr (std::is_same_v<Lane, double>) {
    return hn::PromoteTo(d, load(hn::Rebind<float, D>(), p, n));
  } else {
    static_assert(sizeof(T) == 2 && std::is_same_v<Lane, float>);
    return widen<T>(d, load_lanes(hn::Rebind<uint16_t, D>(), reinterpret_cast<const uint16_t*>(p), n));
  }
}

// f64 lanes cut to the precision of f32, the last bit set where something was cut off: what rounds this to 16 bits then
// rounds as if from f64.
template <class D>
HWY_INLINE hn::Vec<D> round_to_odd(D d, hn::Vec<D> v) {
  const hn::RebindToUnsigned<D> du;
  constexpr uint64_t below = (uint64_t{1} << 29) - 1;
  const auto bits = hn::BitCast(du, v);
  const auto sticky = hn::And(hn::Add(hn::And(bits, hn::Set(du, below)), hn::Set(du, below)), hn::Set(du, below + 1));
  return hn::BitCast(d, hn::Or(hn::AndNot(hn::Set(du, below), bits), sticky));
}

template <class D, class T>
HWY_INLINE void store(hn::Vec<D> v, D d, T* p) {
  using Lane = hn::TFromD<D>;
  if constexpr (std::is_same_v<T, Lane>) {
    hn::StoreU(v, d, p);
  } else if constexpr (std::is_same_v<Lane, double>) {
    const hn::Rebind<float, D> df32;
    store(hn::DemoteTo(df32, sizeof(T) == 2 ? round_to_odd(d, v) : v), df32, p);
  } else {
    static_assert(sizeof(T) == 2 && std::is_same_v<Lane, float>);
    hn::StoreU(narrow<T>(d, v), hn::Rebind<uint16_t, D>(), reinterpret_cast<uint16_t*>(p));
  }
}

template <class D, class T>
HWY_INLINE void store(hn::Vec<D> v, D d, T* p, int64_t n) {
  using Lane = hn::TFromD<D>;
  if constexpr (std::is_same_v<T, Lane>) {
    store_lanes(v, d, p, n);
  } else if constexpr (std::is_same_v<Lane, double>) {
    const hn::Rebind<float, D> df32;
    store(hn::DemoteTo(df32, sizeof(T) == 2 ? round_to_odd(d, v) : v), df32, p, n);
  } else {
    static_assert(sizeof(T) == 2 && std::is_same_v<Lane, float>);
    store_lanes(narrow<T>(d, v), hn::Rebind<uint16_t, D>(), reinterpret_cast<uint16_t*>(p), n);
  }
}

// out[i] = lower[i] in the lower half of its bits and upper[i], or 0 where that is null, in the upper one; i < n, then
// zeros to the end of the last vector.
HWY_INLINE void pair_rows(const bf16_t* lower, const bf16_t* upper, int64_t n, uint32_t* out) {
  const hn::ScalableTag<uint32_t> d;
  const hn::Rebind<uint16_t, decltype(d)> d16;
  for (int64_t i = 0; i < n; i += lanes(d)) {
    const auto word = [&](const bf16_t* row) HWY_ATTR {
      const auto* p = reinterpret_cast<const uint16_t*>(row + i);
      return hn::PromoteTo(d, i + lanes(d) <= n ? hn::LoadU(d16, p) : load_lanes(d16, p, n - i));
    };
    hn::StoreU(upper ? hn::Or(word(lower), hn::ShiftLeft<16>(word(upper))) : word(lower), d, out + i);
  }
}

// step(i) for each whole vector of [0, n), then step(i, count) for what is left: written once as
//   [&](int64_t i, auto... count) HWY_ATTR { … load(d, x + i, count...) … }
template <class D, class Step>
HWY_INLINE void for_each_vector(D d, int64_t n, Step step) {
  int64_t i = 0;
  for (; i + lanes(d) <= n; i += lanes(d)) step(i);
  if (i < n) step(i, n - i);
}

// The result of state = step(state, i) over the vectors of [0, n), or step(state, i, count) for what is left. Four
// states, which begin as `none`, take turns so that no step waits for the last one; join(state, state) makes one of
// two.
template <class D, class State, class Step, class Join>
HWY_INLINE State fold_vectors(D d, int64_t n, State none, Step step, Join join) {
  const int64_t l = lanes(d);
  State a = none, b = none, c = none, e = none;
  int64_t i = 0;
  for (; i + 4 * l <= n; i += 4 * l) {
    a = step(a, i);
    b = step(b, i + l);
    c = step(c, i + 2 * l);
    e = step(e, i + 3 * l);
  }
  for (; i + l <= n; i += l) a = step(a, i);
  if (i < n) b = step(b, i, n - i);
  return join(join(a, b), join(c, e));
}

// Σ of lanes, where step(sum, i, count...) adds a vector to a sum.
template <class D, class Step>
HWY_INLINE hn::Vec<D> sum_vectors(D d, int64_t n, Step step) {
  return hn::SumOfLanes(d,
                        fold_vectors(d, n, hn::Zero(d), step, [](auto a, auto b) HWY_ATTR { return hn::Add(a, b); }));
}

// The sum of a vector's blocks of four lanes.
template <class D>
HWY_INLINE hn::Vec<hn::CappedTag<float, 4>> sum_of_blocks(D d, hn::Vec<D> v) {
  if constexpr (hn::MaxLanes(d) <= 4) {
    return v;
  } else {
    const hn::Half<D> half;
    return sum_of_blocks(half, hn::Add(hn::LowerHalf(half, v), hn::UpperHalf(half, v)));
  }
}

// The sums of the lanes of four vectors of f32.
template <class D>
HWY_INLINE hn::Vec<hn::CappedTag<float, 4>> sums_of_lanes(D d, const hn::Vec<D> (&v)[4]) {
  const hn::Repartition<uint64_t, D> pairs;
  const auto add_halves = [&](auto tag, auto a, auto b) HWY_ATTR {
    const auto u = hn::BitCast(tag, a), w = hn::BitCast(tag, b);
    return hn::Add(hn::BitCast(d, hn::InterleaveLower(tag, u, w)), hn::BitCast(d, hn::InterleaveUpper(tag, u, w)));
  };
  return sum_of_blocks(d, add_halves(pairs, add_halves(d, v[0], v[1]), add_halves(d, v[2], v[3])));
}

// y_i = f(x_i, …) for i < n. y may be one of the x.
template <class D, class F, class Y, class... X>
HWY_INLINE void map(D d, int64_t n, F f, Y* y, const X*... x) {
  for_each_vector(
      d, n, [&](int64_t i, auto... count) HWY_ATTR { store(f(load(d, x + i, count...)...), d, y + i, count...); });
}

}  // namespace mora::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
