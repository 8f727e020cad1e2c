// Parameters are cut into pieces of equal size, whatever tensor they lie in, and the pieces are shared out to threads.
#include "kernels/copy.h"
#include "kernels/optimizer_bodies.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/optimizer.cpp"
#include "kernels/cpu/foreach_target.h"
#include "kernels/cpu/simd.h"

#include <cmath>
#include <vector>

#include "kernels/checks.h"
#include "kernels/cpu/elements.h"

#ifndef MORA_KERNELS_CPU_OPTIMIZER_ONCE
#define MORA_KERNELS_CPU_OPTIMIZER_ONCE
namespace mora::kernels::cpu {
namespace {

struct Piece {
  size_t term;
  int64_t begin, end;
};

struct LambSquares {
  double parameter = 0, direction = 0;
};

template <class Term>
int64_t numel_of(const Term& term) {
  if constexpr (std::is_same_v<Term, Tensor>)
    return term.numel();
  else
    return term.parameter.numel();
}

template <class Terms>
std::vector<Piece> pieces_of(const Terms& terms) {
  constexpr int64_t size = element_grain;
  std::vector<Piece> pieces;
  for (size_t t = 0; t < terms.size(); ++t)
    for (int64_t n = numel_of(terms[t]), begin = 0; begin < n; begin += size)
      pieces.push_back({t, begin, std::min(n, begin + size)});
  return pieces;
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
    g = hn::Mul(hn::Set(d, T(term.scale)), g);
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

// m̂/(√v̂ + eps) + wd·w of the elements from i on.
template <class T>
struct LambDirection {
  const T *w, *mean, *square;
  T mean_correction, square_correction, eps, weight_decay;

  LambDirection(const LambTerm& term, const LambRule& rule)
      : w(term.parameter.data<T>()),
        mean(term.mean.data<T>()),
        square(term.square.data<T>()),
        mean_correction(T(1 / (1 - std::pow(rule.beta1, double(term.step))))),
        square_correction(T(1 / std::sqrt(1 - std::pow(rule.beta2, double(term.step))))),
        eps(T(rule.eps)),
        weight_decay(T(term.weight_decay)) {}

  template <class D>
  HWY_INLINE hn::Vec<D> at(D d, int64_t i, int64_t n) const {
    const auto root = hn::Mul(hn::Sqrt(take(d, square + i, n)), hn::Set(d, square_correction));
    const auto m = hn::Mul(take(d, mean + i, n), hn::Set(d, mean_correction));
    return hn::MulAdd(hn::Set(d, weight_decay), take(d, w + i, n), hn::Div(m, hn::Add(root, hn::Set(d, eps))));
  }
};

// Moves the moments; the squared norms of w and u over the piece.
template <class T>
LambSquares lamb_moments_piece(LambTerm& term, const LambRule& rule, int64_t begin, int64_t end) {
  T* mean = const_cast<T*>(term.mean.data<T>());
  T* square = const_cast<T*>(term.square.data<T>());
  const T* gradient = term.gradient.data<T>();
  const LambDirection<T> direction(term, rule);
  const hn::ScalableTag<T> tag;
  auto w_sum = hn::Zero(tag), u_sum = hn::Zero(tag);
  for_vectors<T>(begin, end, [&](auto d, int64_t i, int64_t n) HWY_ATTR {
    const auto g = take(d, gradient + i, n);
    const auto m = take(d, mean + i, n);
    const auto v = hn::Mul(hn::Set(d, T(rule.beta2)), take(d, square + i, n));
    put(d, hn::MulAdd(hn::Set(d, T(1 - rule.beta1)), hn::Sub(g, m), m), mean + i, n);
    put(d, hn::MulAdd(hn::Set(d, T(1 - rule.beta2)), hn::Mul(g, g), v), square + i, n);
    const auto w = take(d, direction.w + i, n);
    const auto u = hn::IfThenElseZero(hn::FirstN(d, size_t(n)), direction.at(d, i, n));  // beyond n it may be 0/0
    w_sum = hn::MulAdd(w, w, w_sum);
    u_sum = hn::MulAdd(u, u, u_sum);
  });
  return {double(hn::GetLane(hn::SumOfLanes(tag, w_sum))), double(hn::GetLane(hn::SumOfLanes(tag, u_sum)))};
}

template <class T>
void lamb_piece(LambTerm& term, const LambRule& rule, double rate, int64_t begin, int64_t end) {
  T* w = const_cast<T*>(term.parameter.data<T>());
  const LambDirection<T> direction(term, rule);
  for_vectors<T>(begin, end, [&](auto d, int64_t i, int64_t n) HWY_ATTR {
    put(d, hn::NegMulAdd(hn::Set(d, T(rate)), direction.at(d, i, n), take(d, w + i, n)), w + i, n);
  });
}

// T∘g and T of the elements from i on.
template <class T>
struct ScaledGradient {
  const T *w, *g;
  T eta;
  bool scaled;
  template <class D>
  HWY_INLINE hn::Vec<D> scale(D d, int64_t i, int64_t n) const {
    return scaled ? hn::Add(hn::Abs(take(d, w + i, n)), hn::Set(d, eta)) : hn::Set(d, T(1));
  }
};

template <class T>
double perturbation_squares_piece(const PerturbationTerm& term, double eta, int64_t begin, int64_t end) {
  const ScaledGradient<T> s{term.parameter.data<T>(), term.gradient.data<T>(), T(eta), term.scaled};
  const hn::ScalableTag<T> tag;
  auto sum = hn::Zero(tag);
  for_vectors<T>(begin, end, [&](auto d, int64_t i, int64_t n) HWY_ATTR {
    const auto g = take(d, s.g + i, n), tg = hn::Mul(g, s.scale(d, i, n));
    sum = hn::MulAdd(tg, tg, sum);
  });
  return double(hn::GetLane(hn::SumOfLanes(tag, sum)));
}

template <class T>
void perturb_piece(PerturbationTerm& term, double eta, double factor, int64_t begin, int64_t end) {
  T* w = const_cast<T*>(term.parameter.data<T>());
  const ScaledGradient<T> s{w, term.gradient.data<T>(), T(eta), term.scaled};
  for_vectors<T>(begin, end, [&](auto d, int64_t i, int64_t n) HWY_ATTR {
    const auto t = s.scale(d, i, n);
    const auto move = hn::Mul(hn::Mul(t, t), take(d, s.g + i, n));
    put(d, hn::MulAdd(hn::Set(d, T(factor)), move, take(d, w + i, n)), w + i, n);
  });
}

LambSquares lamb_moments_target(LambTerm& term, const LambRule& rule, int64_t begin, int64_t end) {
  return term.parameter.dtype() == DType::f64 ? lamb_moments_piece<double>(term, rule, begin, end)
                                              : lamb_moments_piece<float>(term, rule, begin, end);
}

void lamb_target(LambTerm& term, const LambRule& rule, double rate, int64_t begin, int64_t end) {
  term.parameter.dtype() == DType::f64 ? lamb_piece<double>(term, rule, rate, begin, end)
                                       : lamb_piece<float>(term, rule, rate, begin, end);
}

double perturbation_squares_target(const PerturbationTerm& term, double eta, int64_t begin, int64_t end) {
  return term.parameter.dtype() == DType::f64 ? perturbation_squares_piece<double>(term, eta, begin, end)
                                              : perturbation_squares_piece<float>(term, eta, begin, end);
}

void perturb_target(PerturbationTerm& term, double eta, double factor, int64_t begin, int64_t end) {
  term.parameter.dtype() == DType::f64 ? perturb_piece<double>(term, eta, factor, begin, end)
                                       : perturb_piece<float>(term, eta, factor, begin, end);
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
double product_piece(const T* x, const T* y, int64_t begin, int64_t end) {
  const hn::ScalableTag<double> d;
  auto sum = hn::Zero(d);
  for (int64_t i = begin; i < end; i += lanes(d)) {
    const int64_t n = std::min(lanes(d), end - i);
    sum = hn::MulAdd(load(d, x + i, n), load(d, y + i, n), sum);
  }
  return hn::GetLane(hn::SumOfLanes(d, sum));
}

double product_target(const Tensor& x, const Tensor& y, int64_t begin, int64_t end) {
  double sum = 0;
  visit_floating(x.dtype(), "inner_product", [&](auto zero) {
    using T = decltype(zero);
    sum = product_piece(x.data<T>(), y.data<T>(), begin, end);
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

void add_target(const Tensor& x, Tensor& y, double factor, int64_t begin, int64_t end) {
  visit_floating(y.dtype(), "add_all", [&](auto zero) {
    using T = decltype(zero);
    T* to = const_cast<T*>(y.data<T>()) + begin;
    const Tag<T> d;
    const auto f = hn::Set(d, Compute<T>(factor));
    map(
        d, end - begin, [=](auto a, auto b) HWY_ATTR { return hn::MulAdd(f, b, a); }, to, static_cast<const T*>(to),
        x.data<T>() + begin);
  });
}

}  // namespace
}  // namespace mora::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mora::kernels::cpu {
namespace {

HWY_EXPORT(sgd_target);
HWY_EXPORT(adamw_target);
HWY_EXPORT(lamb_moments_target);
HWY_EXPORT(lamb_target);
HWY_EXPORT(perturbation_squares_target);
HWY_EXPORT(perturb_target);
HWY_EXPORT(product_target);
HWY_EXPORT(scale_target);
HWY_EXPORT(add_target);

template <class Terms, class F>
void for_pieces(const Terms& terms, F f) {
  const std::vector<Piece> pieces = pieces_of(terms);
  int64_t elements = 1;
  for (const Piece& piece : pieces) elements += piece.end - piece.begin;
  const int64_t grain = element_grain * int64_t(pieces.size()) / elements + 1;  // small tensors make small pieces
  parallel_for(int64_t(pieces.size()), grain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) f(size_t(i), pieces[size_t(i)]);
  });
}

// Σ x·y of each piece.
std::vector<double> products(std::span<const Tensor> xs, std::span<const Tensor> ys, std::string_view op) {
  check_pairs(op, mora::cpu, xs, ys);
  std::vector<double> sums(pieces_of(xs).size());
  for_pieces(xs, [&](size_t i, const Piece& piece) {
    sums[i] = HWY_DYNAMIC_DISPATCH(product_target)(xs[piece.term], ys[piece.term], piece.begin, piece.end);
  });
  return sums;
}

bool is_closed(const Tensor& gate) {
  check_gate(mora::cpu, gate);
  return gate.defined() && std::isnan(*gate.data<double>());
}

}  // namespace

void sgd_update(std::span<SgdTerm> terms, const SgdRule& rule, const Tensor& gate, const Tensor&) {
  if (is_closed(gate)) return;
  for (SgdTerm& term : terms) {
    check_term("sgd", mora::cpu, term.parameter, {&term.gradient, &term.buffer});
    for (Tensor* t : {&term.parameter, &term.buffer})
      if (t->defined()) t->mutable_raw();  // the version moves once an update
  }
  for_pieces(terms, [&](size_t, const Piece& piece) {
    HWY_DYNAMIC_DISPATCH(sgd_target)(terms[piece.term], rule, piece.begin, piece.end);
  });
}

void adamw_update(std::span<AdamWTerm> terms, const AdamWRule& rule, const Tensor& gate, const Tensor&) {
  if (is_closed(gate)) return;
  for (AdamWTerm& term : terms) {
    check_term("adamw", mora::cpu, term.parameter, {&term.gradient, &term.mean, &term.square, &term.largest});
    for (Tensor* t : {&term.parameter, &term.mean, &term.square, &term.largest})
      if (t->defined()) t->mutable_raw();
  }
  for_pieces(terms, [&](size_t, const Piece& piece) {
    HWY_DYNAMIC_DISPATCH(adamw_target)(terms[piece.term], rule, piece.begin, piece.end);
  });
}

void lamb_update(std::span<LambTerm> terms, const LambRule& rule, const Tensor& gate, const Tensor&) {
  if (is_closed(gate)) return;
  for (LambTerm& term : terms) {
    check_term("lamb", mora::cpu, term.parameter, {&term.gradient, &term.mean, &term.square});
    for (Tensor* t : {&term.parameter, &term.mean, &term.square}) t->mutable_raw();
  }
  const std::vector<Piece> pieces = pieces_of(terms);
  std::vector<LambSquares> squares(pieces.size());
  for_pieces(terms, [&](size_t i, const Piece& piece) {
    squares[i] = HWY_DYNAMIC_DISPATCH(lamb_moments_target)(terms[piece.term], rule, piece.begin, piece.end);
  });
  std::vector<LambSquares> totals(terms.size());
  for (size_t i = 0; i < pieces.size(); ++i) {
    totals[pieces[i].term].parameter += squares[i].parameter;
    totals[pieces[i].term].direction += squares[i].direction;
  }
  for_pieces(terms, [&](size_t, const Piece& piece) {
    LambTerm& term = terms[piece.term];
    const double w = std::sqrt(totals[piece.term].parameter), u = std::sqrt(totals[piece.term].direction);
    const double rate = term.lr * (term.trust && w > rule.norm_floor && u > 0 ? w / u : 1);
    HWY_DYNAMIC_DISPATCH(lamb_target)(term, rule, rate, piece.begin, piece.end);
  });
}

std::vector<double> norms(std::span<const Tensor> tensors) {
  const std::vector<double> sums = products(tensors, tensors, "norms");
  std::vector<double> totals(tensors.size());
  const std::vector<Piece> pieces = pieces_of(tensors);
  for (size_t i = 0; i < pieces.size(); ++i) totals[pieces[i].term] += sums[i];
  for (double& total : totals) total = std::sqrt(total);
  return totals;
}

double inner_product(std::span<const Tensor> xs, std::span<const Tensor> ys) {
  double total = 0;
  for (double sum : products(xs, ys, "inner_product")) total += sum;
  return total;
}

double global_norm(std::span<const Tensor> tensors) {
  double total = 0;
  for (double sum : products(tensors, tensors, "global_norm")) total += sum;
  return std::sqrt(total);
}

double perturbation_norm(std::span<const PerturbationTerm> terms, double eta) {
  for (const PerturbationTerm& term : terms)
    check_term("perturbation_norm", mora::cpu, term.parameter, {&term.gradient});
  std::vector<double> sums(pieces_of(terms).size());
  for_pieces(terms, [&](size_t i, const Piece& piece) {
    sums[i] = HWY_DYNAMIC_DISPATCH(perturbation_squares_target)(terms[piece.term], eta, piece.begin, piece.end);
  });
  double total = 0;
  for (double sum : sums) total += sum;
  return std::sqrt(total);
}

void perturb(std::span<PerturbationTerm> terms, double eta, double factor) {
  for (PerturbationTerm& term : terms) {
    check_term("perturb", mora::cpu, term.parameter, {&term.gradient});
    term.parameter.mutable_raw();
  }
  for_pieces(terms, [&](size_t, const Piece& piece) {
    HWY_DYNAMIC_DISPATCH(perturb_target)(terms[piece.term], eta, factor, piece.begin, piece.end);
  });
}

void scale_all(std::span<Tensor> tensors, double factor) {
  for (Tensor& t : tensors) {
    check_scaled(mora::cpu, t);
    t.mutable_raw();
  }
  for_pieces(tensors, [&](size_t, const Piece& piece) {
    HWY_DYNAMIC_DISPATCH(scale_target)(tensors[piece.term], factor, piece.begin, piece.end);
  });
}

Clipped clip(std::span<Tensor> gradients, double most, const Tensor& loss) {
  check_loss(mora::cpu, loss);
  const double norm = global_norm(gradients), of_loss = loss.defined() ? loss.item() : 0;
  const bool finite = std::isfinite(norm) && std::isfinite(of_loss);
  const double gate = finite ? std::min(1.0, most / (norm + 1e-6)) : NAN;
  if (gate < 1) scale_all(gradients, gate);
  const auto number = [](double value) { return Tensor::from(std::vector<double>{value}, {1}); };
  return {number(norm), number(gate)};
}

void add_all(std::span<const Tensor> xs, std::span<Tensor> ys, double factor) {
  check_pairs("add_all", mora::cpu, xs, ys);
  for (Tensor& y : ys) y.mutable_raw();
  for_pieces(ys, [&](size_t, const Piece& piece) {
    HWY_DYNAMIC_DISPATCH(add_target)(xs[piece.term], ys[piece.term], factor, piece.begin, piece.end);
  });
}

void copy_all(std::span<const Tensor> xs, std::span<Tensor> ys) {
  check_pairs("copy_all", mora::cpu, xs, ys);
  for (size_t i = 0; i < xs.size(); ++i) copy(xs[i], ys[i]);
}

}  // namespace mora::kernels::cpu
#endif
