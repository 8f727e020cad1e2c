// Elementary functions of whole vectors, f32 and f64 alike; no scalar libm. Errors are the largest measured by
// tests/kernels/unary_test.cpp, in units of the last place of the result. NaN gives NaN, infinities their limits.
//
//   exp      1 ulp       gradual underflow, +inf on overflow
//   log      1 ulp       subnormals too; log(0) = −inf, NaN below
//   tanh     3 ulp
//   sigmoid  3 ulp       f32 4, and 7 below −10; 0 where e^−x overflows
//   erf      3 ulp (f32), 4 ulp (f64)
//   sin, cos 1 ulp (f32), 2 ulp (f64) for |x| < 10⁶; beyond, lane by lane with the C library
//
// Polynomials: those of f64 that are Taylor series have their exact coefficients; the others are minimax fits (Remez
// exchange at 50 digits), with the error of the fit beside them.
#if defined(MORA_KERNELS_CPU_SIMD_MATH_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef MORA_KERNELS_CPU_SIMD_MATH_H_
#undef MORA_KERNELS_CPU_SIMD_MATH_H_
#else
#define MORA_KERNELS_CPU_SIMD_MATH_H_
#endif

#include <bit>
#include <cmath>
#include <limits>
#include <numbers>

#include "kernels/cpu/simd.h"

HWY_BEFORE_NAMESPACE();
namespace mora::kernels::cpu::HWY_NAMESPACE {

template <class D>
inline constexpr bool is_f64 = std::is_same_v<hn::TFromD<D>, double>;
template <class D>
inline constexpr int mantissa_bits = std::numeric_limits<hn::TFromD<D>>::digits - 1;
template <class D>
inline constexpr int exponent_bias = std::numeric_limits<hn::TFromD<D>>::max_exponent - 1;

// c0 + c1·x + c2·x² + …, by Horner's rule.
template <class D, class V>
HWY_INLINE V polynomial(D d, V, hn::TFromD<D> c) {
  return hn::Set(d, c);
}
template <class D, class V, class... Rest>
HWY_INLINE V polynomial(D d, V x, hn::TFromD<D> c, Rest... rest) {
  return hn::MulAdd(polynomial(d, x, hn::TFromD<D>(rest)...), x, hn::Set(d, c));
}

// min(max(x, low), high). NaN stays NaN: where an operand is NaN, x86 returns the second one, and Arm NaN.
template <class D, class V>
HWY_INLINE V clamp_keeping_nan(D d, V x, double low, double high) {
  using T = hn::TFromD<D>;
  return hn::Max(hn::Set(d, T(low)), hn::Min(hn::Set(d, T(high)), x));
}

// x = n·ln 2 + r, |r| ≤ ½ ln 2, and p = e^r − 1.  For |x| ≤ 1100. `scale` is 2^n where that is a normal number, and 0
// and +inf for the n next to those.
template <class D>
struct ExpParts {
  hn::Vec<D> p, scale;
  hn::Vec<hn::RebindToSigned<D>> n;
};
template <class D, class V>
HWY_INLINE ExpParts<D> exp_parts(D d, V x) {
  const hn::RebindToSigned<D> di;
  using T = hn::TFromD<D>;
  // Adding 1.5 · 2^mantissa_bits rounds to an integer, and leaves it in the low bits: with the bias of exponents.
  const V magic = hn::Set(d, (is_f64<D> ? T(0x1.8p52) : T(0x1.8p23)) + exponent_bias<D>);
  const V shifted = hn::MulAdd(x, hn::Set(d, std::numbers::log2e_v<T>), magic);
  const V n = hn::Sub(shifted, magic);
  // ln 2 in two parts, the first short enough that n · ln2_high is exact.
  const V ln2_high = hn::Set(d, is_f64<D> ? T(0x1.62e42feep-1) : T(0x1.63p-1));
  const V ln2_low = hn::Set(d, is_f64<D> ? T(0x1.a39ef35793c76p-33) : T(-0x1.bd0106p-13));
  const V r = hn::NegMulAdd(n, ln2_low, hn::NegMulAdd(n, ln2_high, x));
  const V r2 = hn::Mul(r, r);
  V q;  // (e^r − 1 − r) / r²
  if constexpr (is_f64<D>) {
    q = polynomial(d, r, 1. / 2, 1. / 6, 1. / 24, 1. / 120, 1. / 720, 1. / 5040, 1. / 40320, 1. / 362880, 1. / 3628800,
                   1. / 39916800, 1. / 479001600, 1. / 6227020800);
  } else {  // 3.1e-9 of e^r; even and odd terms apart, so that none waits for four others
    const V high = polynomial(d, r, 0.0416683880453139967, 0.00836871687972813995);
    q = hn::MulAdd(hn::MulAdd(r2, hn::Set(d, 0.00138145986466640345F), high), r2,
                   polynomial(d, r, 0.499999934477964868, 0.166665206317094969));
  }
  const auto bits = hn::BitCast(di, shifted);
  return {hn::MulAdd(r2, q, r), hn::BitCast(d, hn::ShiftLeft<mantissa_bits<D>>(bits)),
          hn::Sub(bits, hn::BitCast(di, magic))};
}

// 2^n for exponents of normal numbers.
template <class D, class VI>
HWY_INLINE hn::Vec<D> power_of_two(D d, VI n) {
  const hn::RebindToSigned<D> di;
  using TI = hn::TFromD<decltype(di)>;
  return hn::BitCast(d, hn::ShiftLeft<mantissa_bits<D>>(hn::Add(n, hn::Set(di, TI(exponent_bias<D>)))));
}

template <class D, class V>
HWY_INLINE V exp(D d, V x) {
  const auto [p, scale, n] =
      exp_parts(d, is_f64<D> ? clamp_keeping_nan(d, x, -746, 710) : clamp_keeping_nan(d, x, -104, 89));
  const auto half = hn::ShiftRight<1>(n);  // 2^n may be no normal number: scale in two steps
  const V half_scale = power_of_two(d, half);
  return hn::Mul(hn::MulAdd(p, half_scale, half_scale), power_of_two(d, hn::Sub(n, half)));
}

// e^x for x not above 0, as softmax needs it (up to 88 would do): 2 ulp, and 0 or subnormal where e^x is no
// normal number.
template <class D, class V>
HWY_INLINE V exp_nonpositive(D d, V x) {
  // NaN stays NaN: see clamp_keeping_nan. At the lowest x the scale is 0.
  const auto [p, scale, n] = exp_parts(d, hn::Max(hn::Set(d, is_f64<D> ? -709 : -88), x));
  return hn::MulAdd(p, scale, scale);
}

// 1 + e^{−x}, infinite where e^{−x} overflows.
template <class D, class V>
HWY_INLINE V one_plus_exp_of_negative(D d, V x) {
  const V t = is_f64<D> ? clamp_keeping_nan(d, x, -710, 708) : clamp_keeping_nan(d, x, -89, 87);
  const auto [p, scale, n] = exp_parts(d, hn::Neg(t));
  const V one = hn::Set(d, 1);
  return hn::MulAdd(hn::Add(p, one), scale, one);
}

#if HWY_TARGET == HWY_AVX3
// The bits of 2^(k/16), less k at the place where 16·n is added.
struct SixteenthRoots {
  static constexpr int shift = 19;
  alignas(64) int32_t bits[16];
  constexpr SixteenthRoots() : bits() {
    constexpr float root[16] = {0x1p0F,        0x1.0b5586p0F, 0x1.172b84p0F, 0x1.2387a6p0F,
                                0x1.306fep0F,  0x1.3dea64p0F, 0x1.4bfdaep0F, 0x1.5ab07ep0F,
                                0x1.6a09e6p0F, 0x1.7a1148p0F, 0x1.8ace54p0F, 0x1.9c4918p0F,
                                0x1.ae89fap0F, 0x1.c199bep0F, 0x1.d5818ep0F, 0x1.ea4afap0F};
    for (int k = 0; k < 16; ++k) bits[k] = std::bit_cast<int32_t>(root[k]) - (k << shift);
  }
};
inline constexpr SixteenthRoots sixteenth_roots;

// In f32, where 16 lanes are looked up in a register: x = n·ln 2 + r with n a multiple of 1/16, and the fraction of n
// chooses 2^(k/16), so that r is short, and e^x = scale·(1 + r·q) with q of degree 2 (1.6e-9 of e^x).
struct ShortExp {
  using D = hn::ScalableTag<float>;
  using V = hn::Vec<D>;
  V r, q, scale;  // scale is 0 and +inf at −127 and 128 ln 2

  // Of e^x, or e^−x. |x| < 88.74. That n·ln 2 is rounded costs |x|·2.7e-9 of the result.
  template <bool negative>
  static HWY_INLINE ShortExp of(V x) {
    const D d;
    constexpr float log2e = std::numbers::log2e_v<float>;
    const V magic = hn::Set(d, 0x1.8p19F);  // rounds to a multiple of 1/16, and leaves 16·n in the low bits
    const V shifted = hn::MulAdd(x, hn::Set(d, negative ? -log2e : log2e), magic);
    const V n = hn::Sub(shifted, magic), ln2 = hn::Set(d, std::numbers::ln2_v<float>);
    const V r = negative ? hn::NegMulSub(n, ln2, x) : hn::NegMulAdd(n, ln2, x);
    const __m512i bits = _mm512_castps_si512(shifted.raw);
    const __m512i root =
        _mm512_permutexvar_epi32(bits, _mm512_load_si512(sixteenth_roots.bits));  // by the lowest four bits
    const __m512i scale = _mm512_add_epi32(_mm512_slli_epi32(bits, SixteenthRoots::shift), root);
    return {r, polynomial(d, r, 1, 0.50001621914F, 0.16667058446F), V{_mm512_castsi512_ps(scale)}};
  }
};

HWY_INLINE ShortExp::V exp_nonpositive(ShortExp::D d, ShortExp::V x) {
  const auto [r, q, scale] = ShortExp::of<false>(hn::Max(hn::Set(d, -88.03F), x));
  return hn::MulAdd(hn::Mul(r, q), scale, scale);
}

HWY_INLINE ShortExp::V one_plus_exp_of_negative(ShortExp::D d, ShortExp::V x) {
  const auto [r, q, scale] = ShortExp::of<true>(clamp_keeping_nan(d, x, -88.73, 87));
  const ShortExp::V one = hn::Set(d, 1);
  return hn::MulAdd(hn::MulAdd(r, q, one), scale, one);
}
#endif

// log x = e·ln 2 + log m,  m = 1 + f in [√½, √2),  s = f/(2 + f):  log m = 2 artanh s = f − s·(f − R),
// R = 2s²/3 + 2s⁴/5 + …
template <class D, class V>
HWY_INLINE V log(D d, V x) {
  const hn::RebindToSigned<D> di;
  using T = hn::TFromD<D>;
  constexpr int bits = mantissa_bits<D>;
  const auto subnormal = hn::Lt(x, hn::Set(d, std::numeric_limits<T>::min()));
  const V scaled = hn::IfThenElse(subnormal, hn::Mul(x, hn::Set(d, is_f64<D> ? T(0x1p54) : T(0x1p25))), x);
  const V correction = hn::IfThenElseZero(subnormal, hn::Set(d, is_f64<D> ? T(54) : T(25)));
  const auto i = hn::BitCast(di, scaled);
  const auto root_half = hn::BitCast(di, hn::Set(d, T(0.70710678118654752)));
  const auto e_bits = hn::ShiftRight<bits>(hn::Sub(i, root_half));
  const V m = hn::BitCast(d, hn::Sub(i, hn::ShiftLeft<bits>(e_bits)));
  const V e = hn::Sub(hn::ConvertTo(d, e_bits), correction);

  const V f = hn::Sub(m, hn::Set(d, 1));
  const V s = hn::Div(f, hn::Add(f, hn::Set(d, 2)));
  const V z = hn::Mul(s, s);
  V r;
  if constexpr (is_f64<D>) {
    r = polynomial(d, z, 2. / 3, 2. / 5, 2. / 7, 2. / 9, 2. / 11, 2. / 13, 2. / 15, 2. / 17, 2. / 19, 2. / 21);
  } else {
    r = polynomial(d, z, 2. / 3, 2. / 5, 2. / 7, 2. / 9);
  }
  r = hn::Mul(r, z);
  const V ln2_high = hn::Set(d, is_f64<D> ? T(0x1.62e42feep-1) : T(0x1.63p-1));
  const V ln2_low = hn::Set(d, is_f64<D> ? T(0x1.a39ef35793c76p-33) : T(-0x1.bd0106p-13));
  const V low = hn::NegMulAdd(s, hn::Sub(f, r), hn::Mul(e, ln2_low));
  const V y = hn::MulAdd(e, ln2_high, hn::Add(f, low));

  const V inf = hn::Inf(d);
  const V negative = hn::IfThenElse(hn::Eq(x, hn::Zero(d)), hn::Neg(inf), hn::NaN(d));
  const V finite = hn::IfThenElse(hn::Gt(x, hn::Zero(d)), y, negative);
  return hn::IfThenElse(hn::Eq(x, inf), inf, finite);
}

// tanh |x| = −m / (2 + m),  m = e^{−2|x|} − 1 without cancellation: m = 2ⁿ·p + (2ⁿ − 1).
template <class D, class V>
HWY_INLINE V tanh(D d, V x) {
  const V t = clamp_keeping_nan(d, hn::Mul(hn::Abs(x), hn::Set(d, -2)), -40, 0);
  const auto [p, scale, n] = exp_parts(d, t);
  const V m = hn::MulAdd(scale, p, hn::Sub(scale, hn::Set(d, 1)));
  return hn::CopySignToAbs(hn::Abs(hn::Div(m, hn::Add(m, hn::Set(d, 2)))), x);
}

template <class D, class V>
HWY_INLINE V sigmoid(D d, V x) {
  return hn::Div(hn::Set(d, 1), one_plus_exp_of_negative(d, x));
}

// x·σ(x)
template <class D, class V>
HWY_INLINE V silu(D d, V x) {
  return hn::Div(x, one_plus_exp_of_negative(d, x));
}

// |x| < 1: x · P(x²). Above: 1 − exp(Q(|x|)), Q ≈ log erfc, fitted for the error it leaves in erf.
template <class D, class V>
HWY_INLINE V erf(D d, V x) {
  const V a = clamp_keeping_nan(d, hn::Abs(x), 0, is_f64<D> ? 5.93 : 3.93);  // erf is 1 beyond
  const V s = hn::Mul(a, a);
  V p, q;
  if constexpr (is_f64<D>) {  // P: 1.3e-19 of erf, Q: 3.1e-17 of erf
    p = polynomial(d, s, 1.12837916709551257, -0.376126389031837476, 0.112837916709548575, -0.0268661706450728942,
                   0.00522397762478085935, -0.000854832697874174687, 0.000120553310368819429, -0.0000149255935064473623,
                   1.64609728097153497e-6, -1.63500251438279957e-7, 1.46578793080454292e-8, -1.1365663897562765e-9,
                   5.94525827930620914e-11);
    q = polynomial(d, a, -1.06332870427719449e-6, -1.12836871459520527, -0.636667568714612618, -0.102637675657053685,
                   0.018865429584764516, 0.000584007565789020313, -0.00209872410845154264, 0.000919909997905102686,
                   -0.000230632399937007909, 0.0000279928835969664182, 3.61225964466587247e-6, -2.67326542113119461e-6,
                   6.87802598113322404e-7, -1.08228067736598284e-7, 1.09040605369674464e-8, -6.51859612929437683e-10,
                   1.77055431828337167e-11);
  } else {  // P: 1.2e-9 of erf, Q: 1.1e-9 of erf
    p = polynomial(d, s, 1.12837916572671987, -0.37612625824265281, 0.112835851488892651, -0.026853811944919591,
                   0.00518832770198300024, -0.000801019375646353444, 0.00007853861758552855);
    q = polynomial(d, a, -0.000341521871908290958, -1.12708919500837009, -0.638144824444251582, -0.103106762079673281,
                   0.0218380677140262075, -0.00294765925500537585, 0.000186379291172656556);
  }
  const V one = hn::Set(d, 1);
  const V y = hn::IfThenElse(hn::Lt(a, one), hn::Mul(a, p), hn::Sub(one, exp(d, q)));
  return hn::CopySignToAbs(hn::Abs(y), x);
}

// The standard normal's density φ(x) = e^{−x²/2} / √(2π), and its distribution Φ(x).
template <class V>
struct Normal {
  V density, distribution;
};

// In f32 one exponential gives both: Φ(−|x|) = e^{−x²/2} · M(|x|), where M, Mills' ratio over √(2π), is a polynomial
// (1.7e-8 of Φ). The absolute error of Φ is at most 7e-8.
template <class D, class V>
HWY_INLINE Normal<V> normal(D d, V x) {
  const V half = hn::Set(d, 0.5);
  const V e = exp_nonpositive(d, hn::Neg(hn::Mul(hn::Mul(x, x), half)));
  const V density = hn::Mul(e, hn::Set(d, 0.39894228040143268));
  if constexpr (is_f64<D>) {
    return {density, hn::MulAdd(half, erf(d, hn::Mul(x, hn::Set(d, std::numbers::sqrt2 / 2))), half)};
  } else {
    const V a = hn::Min(hn::Abs(x), hn::Set(d, 5.6F));  // Φ is below 1.1e-8 beyond
    const V m =
        polynomial(d, a, 0.49999998302546045, -0.39894060139169052, 0.24997256544786794, -0.13280575877843509,
                   0.061923876968808723, -0.025471751499217453, 0.0090037969164947738, -0.002590064708437867,
                   0.0005636441637572935, -8.4769186607546284e-05, 7.7085620899738475e-06, -3.1553181604645784e-07);
    const V tail = hn::Mul(e, m);
    return {density, hn::IfThenElse(hn::Lt(x, hn::Zero(d)), tail, hn::Sub(hn::Set(d, 1), tail))};
  }
}

// sin(x + quarter_turns·π/2) of f64 lanes, |x| < 10⁶. π/2 in three parts of 33 bits (Cody & Waite 1980), so that n
// times the first two is exact.
template <class D, class V>
HWY_INLINE V sine_f64(D d, V x, int quarter_turns) {
  const hn::RebindToSigned<D> di;
  const V magic = hn::Set(d, 0x1.8p52);
  const V shifted = hn::MulAdd(x, hn::Set(d, 2 / std::numbers::pi), magic);
  const V n = hn::Sub(shifted, magic);
  V r = hn::NegMulAdd(n, hn::Set(d, 0x1.921fb544p+0), x);
  r = hn::NegMulAdd(n, hn::Set(d, 0x1.0b4611a6p-34), r);
  r = hn::NegMulAdd(n, hn::Set(d, 0x1.3198a2e037073p-69), r);
  const V z = hn::Mul(r, r);
  const V sine = hn::Mul(r, polynomial(d, z, 1, -1. / 6, 1. / 120, -1. / 5040, 1. / 362880, -1. / 39916800,
                                       1. / 6227020800, -1. / 1307674368000, 1. / 355687428096000));
  const V cosine = polynomial(d, z, 1, -1. / 2, 1. / 24, -1. / 720, 1. / 40320, -1. / 3628800, 1. / 479001600,
                              -1. / 87178291200, 1. / 20922789888000);
  const auto quadrant = hn::Add(hn::BitCast(di, shifted), hn::Set(di, quarter_turns));
  const auto odd = hn::RebindMask(d, hn::TestBit(quadrant, hn::Set(di, 1)));
  const V sign = hn::BitCast(d, hn::ShiftLeft<62>(hn::And(quadrant, hn::Set(di, 2))));
  return hn::Xor(hn::IfThenElse(odd, cosine, sine), sign);
}

// sin (quarter_turns = 0) and cos (1). f32 goes by way of f64: any reduced argument is then exact enough.
template <class D, class V>
HWY_INLINE V sine(D d, V x, int quarter_turns) {
  if (!hn::AllTrue(d, hn::Lt(hn::Abs(x), hn::Set(d, 1e6)))) [[unlikely]] {  // huge, infinite or NaN
    HWY_ALIGN hn::TFromD<D> lane[hn::MaxLanes(d)];
    hn::Store(x, d, lane);
    for (size_t i = 0; i < hn::Lanes(d); ++i) lane[i] = quarter_turns == 0 ? std::sin(lane[i]) : std::cos(lane[i]);
    return hn::Load(d, lane);
  }
  if constexpr (is_f64<D>) {
    return sine_f64(d, x, quarter_turns);
  } else {
    const hn::Repartition<double, D> d64;
    const hn::Half<D> half;
    const auto low = sine_f64(d64, hn::PromoteTo(d64, hn::LowerHalf(half, x)), quarter_turns);
    const auto high = sine_f64(d64, hn::PromoteTo(d64, hn::UpperHalf(half, x)), quarter_turns);
    return hn::Combine(d, hn::DemoteTo(half, high), hn::DemoteTo(half, low));
  }
}

}  // namespace mora::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
