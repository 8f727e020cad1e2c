// Parameters are cut into pieces of equal size, whatever tensor they lie in, and the pieces are shared out to threads.
#include "kernels/optimizer.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/optimizer.cpp"
#include "kernels/cpu/foreach_target.h"
#include "kernels/cpu/simd.h"

#include <cmath>
#include <vector>

#include "kernels/cpu/elements.h"

#ifndef MORA_KERNELS_CPU_OPTIMIZER_ONCE
#define MORA_KERNELS_CPU_OPTIMIZER_ONCE
namespace mora::kernels::cpu {
namespace {

struct Piece {
  size_t term;
  int64_t begin, end;
};

template <class Terms, class NumelOf>
std::vector<Piece> pieces_of(const Terms& terms, NumelOf numel_of) {
  constexpr int64_t size = element_grain;
  std::vector<Piece> pieces;
  for (size_t t = 0; t < terms.size(); ++t)
    for (int64_t n = numel_of(terms[t]), begin = 0; begin < n; begin += size)
      pieces.push_back({t, begin, std::min(n, begin + size)});
  return pieces;
}

void check(std::string_view op, const Tensor& parameter, std::initializer_list<const Tensor*> others) {
  require<DTypeError>(parameter.dtype() == DType::f32 || parameter.dtype() == DType::f64,
                      "{}: a parameter of {}: expected f32 or f64", op, name_of(parameter.dtype()));
  require<ShapeError>(parameter.is_contiguous(), "{}: a parameter {} that is not contiguous", op, parameter.shape());
  for (const Tensor* other : others)
    if (other->defined())
      require<ShapeError>(other->is_contiguous() && other->meta() == parameter.meta(),
                          "{}: a parameter {} of {} with a gradient or moment {} of {}", op, parameter.shape(),
                          name_of(parameter.dtype()), other->shape(), name_of(other->dtype()));
}

}  // namespace
}  // namespace mora::kernels::cpu
#endif

HWY_BEFORE_NAMESPACE();
namespace mora::kernels::cpu::HWY_NAMESPACE {
namespace {

// f(d, i, n) for each vector of [begin, end): n elements from i on, the last vector may have fewer than lanes.
template <class T, class F>
HWY_INLINE void for_vectors(int64_t begin, int64_t end, F f) {
  const hn::ScalableTag<T> d;
  for (int64_t i = begin; i < end; i += lanes(d)) f(d, i, std::min(lanes(d), end - i));
}

template <class D, class T>
HWY_INLINE hn::Vec<D> take(D d, const T* p, int64_t n) {
  return n == lanes(d) ? hn::LoadU(d, p) : load(d, p, n);
}
template <class D, class T>
HWY_INLINE void put(D d, hn::Vec<D> v, T* p, int64_t n) {
  n == lanes(d) ? hn::StoreU(v, d, p) : store(v, d, p, n);
}

template <class T>
void sgd_piece(SgdTerm& term, const SgdRule& rule, int64_t begin, int64_t end) {
  T* w = const_cast<T*>(term.parameter.data<T>());
  T* buffer = term.buffer.defined() ? const_cast<T*>(term.buffer.data<T>()) : nullptr;
  const T* gradient = term.gradient.data<T>();
  for_vectors<T>(begin, end, [&](auto d, int64_t i, int64_t n) HWY_ATTR {
    const auto value = take(d, w + i, n);
    auto g = hn::MulAdd(hn::Set(d, T(term.weight_decay)), value, take(d, gradient + i, n));
    if (buffer) {
      auto b = g;
      if (!term.first)
        b = hn::MulAdd(hn::Set(d, T(rule.momentum)), take(d, buffer + i, n),
                       hn::Mul(hn::Set(d, T(1 - rule.dampening)), g));
      put(d, b, buffer + i, n);
      g = rule.nesterov ? hn::MulAdd(hn::Set(d, T(rule.momentum)), b, g) : b;
    }
    put(d, hn::NegMulAdd(hn::Set(d, T(term.lr)), g, value), w + i, n);
  });
}

template <class T>
void adamw_piece(AdamWTerm& term, const AdamWRule& rule, int64_t begin, int64_t end) {
  T* w = const_cast<T*>(term.parameter.data<T>());
  T* mean = const_cast<T*>(term.mean.data<T>());
  T* square = const_cast<T*>(term.square.data<T>());
  T* largest = term.largest.defined() ? const_cast<T*>(term.largest.data<T>()) : nullptr;
  const T* gradient = term.gradient.data<T>();
  const T decay = T(1 - term.lr * term.weight_decay);
  const T step = T(term.lr / (1 - std::pow(rule.beta1, double(term.step))));
  const T correction = T(1 / std::sqrt(1 - std::pow(rule.beta2, double(term.step))));
  for_vectors<T>(begin, end, [&](auto d, int64_t i, int64_t n) HWY_ATTR {
    const auto g = take(d, gradient + i, n);
    auto m = take(d, mean + i, n);
    m = hn::MulAdd(hn::Set(d, T(1 - rule.beta1)), hn::Sub(g, m), m);
    auto v = hn::Mul(hn::Set(d, T(rule.beta2)), take(d, square + i, n));
    v = hn::MulAdd(hn::Set(d, T(1 - rule.beta2)), hn::Mul(g, g), v);
    put(d, m, mean + i, n);
    put(d, v, square + i, n);
    if (largest) {
      v = hn::Max(v, take(d, largest + i, n));
      put(d, v, largest + i, n);
    }
    const auto denominator = hn::MulAdd(hn::Sqrt(v), hn::Set(d, correction), hn::Set(d, T(rule.eps)));
    const auto value = hn::Mul(take(d, w + i, n), hn::Set(d, decay));
    put(d, hn::NegMulAdd(hn::Set(d, step), hn::Div(m, denominator), value), w + i, n);
  });
}

void sgd_target(SgdTerm& term, const SgdRule& rule, int64_t begin, int64_t end) {
  term.parameter.dtype() == DType::f64 ? sgd_piece<double>(term, rule, begin, end)
                                       : sgd_piece<float>(term, rule, begin, end);
}

void adamw_target(AdamWTerm& term, const AdamWRule& rule, int64_t begin, int64_t end) {
  term.parameter.dtype() == DType::f64 ? adamw_piece<double>(term, rule, begin, end)
                                       : adamw_piece<float>(term, rule, begin, end);
}

template <class T>
double squares_piece(const T* x, int64_t begin, int64_t end) {
  const hn::ScalableTag<double> d;
  auto sum = hn::Zero(d);
  for (int64_t i = begin; i < end; i += lanes(d)) {
    const auto v = load(d, x + i, std::min(lanes(d), end - i));
    sum = hn::MulAdd(v, v, sum);
  }
  return hn::GetLane(hn::SumOfLanes(d, sum));
}

double squares_target(const Tensor& t, int64_t begin, int64_t end) {
  double sum = 0;
  visit_floating(t.dtype(), "global_norm", [&](auto zero) {
    using T = decltype(zero);
    sum = squares_piece(t.data<T>(), begin, end);
  });
  return sum;
}

void scale_target(Tensor& t, double factor, int64_t begin, int64_t end) {
  visit_floating(t.dtype(), "scale_all", [&](auto zero) {
    using T = decltype(zero);
    T* x = const_cast<T*>(t.data<T>());
    const Tag<T> d;
    const auto f = hn::Set(d, Compute<T>(factor));
    map(
        d, end - begin, [=](auto v) HWY_ATTR { return hn::Mul(v, f); }, x + begin, static_cast<const T*>(x + begin));
  });
}

}  // namespace
}  // namespace mora::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mora::kernels {
namespace cpu {
namespace {

HWY_EXPORT(sgd_target);
HWY_EXPORT(adamw_target);
HWY_EXPORT(squares_target);
HWY_EXPORT(scale_target);

template <class Terms, class NumelOf, class F>
void for_pieces(const Terms& terms, NumelOf numel_of, F f) {
  const std::vector<Piece> pieces = pieces_of(terms, numel_of);
  int64_t elements = 1;
  for (const Piece& piece : pieces) elements += piece.end - piece.begin;
  const int64_t grain = element_grain * int64_t(pieces.size()) / elements + 1;  // small tensors make small pieces
  parallel_for(int64_t(pieces.size()), grain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) f(size_t(i), pieces[size_t(i)]);
  });
}

}  // namespace
}  // namespace cpu

using namespace cpu;

void sgd_update(std::span<SgdTerm> terms, const SgdRule& rule) {
  for (SgdTerm& term : terms) {
    cpu::check("sgd", term.parameter, {&term.gradient, &term.buffer});
    for (Tensor* t : {&term.parameter, &term.buffer})
      if (t->defined()) t->mutable_raw();  // the version moves once an update
  }
  cpu::for_pieces(
      terms, [](const SgdTerm& term) { return term.parameter.numel(); },
      [&](size_t, const cpu::Piece& piece) {
        HWY_DYNAMIC_DISPATCH(sgd_target)(terms[piece.term], rule, piece.begin, piece.end);
      });
}

void adamw_update(std::span<AdamWTerm> terms, const AdamWRule& rule) {
  for (AdamWTerm& term : terms) {
    cpu::check("adamw", term.parameter, {&term.gradient, &term.mean, &term.square, &term.largest});
    for (Tensor* t : {&term.parameter, &term.mean, &term.square, &term.largest})
      if (t->defined()) t->mutable_raw();
  }
  cpu::for_pieces(
      terms, [](const AdamWTerm& term) { return term.parameter.numel(); },
      [&](size_t, const cpu::Piece& piece) {
        HWY_DYNAMIC_DISPATCH(adamw_target)(terms[piece.term], rule, piece.begin, piece.end);
      });
}

double global_norm(std::span<const Tensor> tensors) {
  for (const Tensor& t : tensors)
    require<ShapeError>(t.is_contiguous(), "global_norm: a tensor {} that is not contiguous", t.shape());
  const auto numel = [](const Tensor& t) { return t.numel(); };
  std::vector<double> sums(cpu::pieces_of(tensors, numel).size());
  cpu::for_pieces(tensors, numel, [&](size_t i, const cpu::Piece& piece) {
    sums[i] = HWY_DYNAMIC_DISPATCH(squares_target)(tensors[piece.term], piece.begin, piece.end);
  });
  double total = 0;
  for (double sum : sums) total += sum;
  return std::sqrt(total);
}

void scale_all(std::span<Tensor> tensors, double factor) {
  for (Tensor& t : tensors) {
    require<ShapeError>(t.is_contiguous(), "scale_all: a tensor {} that is not contiguous", t.shape());
    t.mutable_raw();
  }
  cpu::for_pieces(
      tensors, [](const Tensor& t) { return t.numel(); },
      [&](size_t, const cpu::Piece& piece) {
        HWY_DYNAMIC_DISPATCH(scale_target)(tensors[piece.term], factor, piece.begin, piece.end);
      });
}

}  // namespace mora::kernels
#endif
