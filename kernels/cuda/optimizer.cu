// Updates and sums of many tensors. A block takes pieces of them, whichever tensor they lie in. Sums are f64: of a
// thread's elements, of the block's threads, of a tensor's pieces, in that order.
#include "kernels/cuda/optimizer.h"

#include "kernels/cuda/rows.h"

namespace mora::kernels::cuda {
namespace {

inline constexpr int piece_threads = 256;

// The term that `piece` is of: the last that begins at it or before.
template <class S>
SIMT_DEVICE int64_t term_of_piece(const Array<const S>& terms, int64_t piece) {
  int64_t low = 0, high = terms.size;
  while (high - low > 1) {
    const int64_t middle = (low + high) / 2;
    (terms[middle].first_piece <= piece ? low : high) = middle;
  }
  return low;
}

template <class T>
SIMT_DEVICE Array<T> of_term(void* data, const Term& term) {
  return {static_cast<T*>(data), term.size};
}

// f(i, Width<N>) for the elements of a piece, as for_each_of_row.
template <class T, class F>
SIMT_DEVICE void for_each_of_piece(const Term& term, int64_t piece, F f) {
  const int64_t begin = (piece - term.first_piece) * elements_of_piece, rest = term.size - begin;
  for_each_of_row<T, piece_threads>(begin, rest < elements_of_piece ? rest : elements_of_piece, term.packed, f);
}

// Whether an update may be made: there is no gate, or it is not NaN.
SIMT_DEVICE bool is_open(const Array<const double>& gate) {
  const double g = gate.size > 0 ? double(gate[0]) : 0;
  return g == g;
}

// Rule: a struct with its term's type S and `template <class T, int N> void update(const S&, int64_t term, int64_t i)`
// for elements i … i + N − 1 of the term's tensors.
template <class T, class Rule>
struct Update {
  static constexpr int threads = piece_threads;
  Array<const typename Rule::S> terms;
  int64_t pieces;
  Rule rule;
  Array<const double> gate;

  SIMT_DEVICE void operator()() const {
    if (!is_open(gate)) return;
    for (int64_t piece = simt::block_index().x; piece < pieces; piece += simt::grid_size().x) {
      const int64_t t = term_of_piece(terms, piece);
      const typename Rule::S term = terms[t];
      for_each_of_piece<T>(term, piece,
                           [&](int64_t i, auto width) { rule.template update<T, width.value>(term, t, i); });
    }
  }
};

// Rule: as for Update, but `add(const S&, int64_t i, double (&sums)[Rule::sums])`; parts[piece · sums + k] is the sum k
// of a piece.
template <class T, class Rule>
struct PartSums {
  static constexpr int threads = piece_threads;
  Array<const typename Rule::S> terms;
  int64_t pieces;
  Array<double> parts;
  Array<const double> gate;

  SIMT_DEVICE void operator()() const {
    if (!is_open(gate)) return;
    for (int64_t piece = simt::block_index().x; piece < pieces; piece += simt::grid_size().x) {
      const typename Rule::S term = terms[term_of_piece(terms, piece)];
      double sums[Rule::sums] = {};
      for_each_of_piece<T>(term, piece,
                           [&](int64_t i, auto width) { Rule::template add<T, width.value>(term, i, sums); });
      for (int k = 0; k < Rule::sums; ++k) {
        const double sum = Team<threads>::sum(sums[k]);
        if (simt::thread_index() == 0) parts[piece * Rule::sums + k] = sum;
      }
    }
  }
};

// results[t] = Rule::result(term t, the sums of its parts).
template <class Rule>
struct TermSums {
  static constexpr int threads = piece_threads;
  Array<const typename Rule::S> terms;
  Array<const double> parts;
  Array<double> results;
  Array<const double> gate;

  SIMT_DEVICE void operator()() const {
    if (!is_open(gate)) return;
    for (int64_t t = simt::block_index().x; t < terms.size; t += simt::grid_size().x) {
      const typename Rule::S term = terms[t];
      const int64_t pieces = (term.size + elements_of_piece - 1) / elements_of_piece;
      double sums[Rule::sums] = {};
      for (int k = 0; k < Rule::sums; ++k) {
        for (int64_t i = simt::thread_index(); i < pieces; i += threads)
          sums[k] += parts[(term.first_piece + i) * Rule::sums + k];
        sums[k] = Team<threads>::sum(sums[k]);
      }
      if (simt::thread_index() == 0) results[t] = Rule::result(term, sums);
    }
  }
};

struct Sgd {
  using S = SgdStep;

  template <class T, int N>
  SIMT_DEVICE void update(const S& s, int64_t, int64_t i) const {
    const auto parameter = of_term<T>(s.parameter, s), buffer = of_term<T>(s.buffer, s);
    T w[N], g[N], b[N];
    read(of_term<const T>(s.parameter, s), i, w);
    read(of_term<const T>(s.gradient, s), i, g);
    for (int k = 0; k < N; ++k) g[k] = T(s.scale) * (T(s.weight_decay) * w[k] + g[k]);
    if (s.buffer) {
      if (!s.first) read(of_term<const T>(s.buffer, s), i, b);
      for (int k = 0; k < N; ++k) b[k] = s.first ? g[k] : T(s.momentum) * b[k] + T(1 - s.dampening) * g[k];
      write(buffer, i, b);
      for (int k = 0; k < N; ++k) g[k] = s.nesterov ? T(s.momentum) * b[k] + g[k] : b[k];
    }
    for (int k = 0; k < N; ++k) w[k] -= T(s.lr) * g[k];
    write(parameter, i, w);
  }
};

// m += (1 − β₁)(g − m);  v = β₂v + (1 − β₂)g²
template <class T, int N, class S>
SIMT_DEVICE void move_moments(const S& s, int64_t i, T (&m)[N], T (&v)[N]) {
  T g[N];
  read(of_term<const T>(s.gradient, s), i, g);
  read(of_term<const T>(s.mean, s), i, m);
  read(of_term<const T>(s.square, s), i, v);
  for (int k = 0; k < N; ++k) {
    m[k] += T(1 - s.beta1) * (g[k] - m[k]);
    v[k] = T(s.beta2) * v[k] + T(1 - s.beta2) * (g[k] * g[k]);
  }
  write(of_term<T>(s.mean, s), i, m);
  write(of_term<T>(s.square, s), i, v);
}

struct AdamW {
  using S = AdamWStep;

  template <class T, int N>
  SIMT_DEVICE void update(const S& s, int64_t, int64_t i) const {
    T w[N], m[N], v[N];
    move_moments(s, i, m, v);
    if (s.largest) {
      T largest[N];
      read(of_term<const T>(s.largest, s), i, largest);
      for (int k = 0; k < N; ++k) v[k] = v[k] > largest[k] || v[k] != v[k] ? v[k] : largest[k];
      write(of_term<T>(s.largest, s), i, v);
    }
    read(of_term<const T>(s.parameter, s), i, w);
    for (int k = 0; k < N; ++k)
      w[k] = w[k] * T(s.kept) - T(s.step) * (m[k] / (sqrt(v[k]) * T(s.square_correction) + T(s.eps)));
    write(of_term<T>(s.parameter, s), i, w);
  }
};

// m̂/(√v̂ + eps) + wd·w
template <class T>
SIMT_DEVICE T lamb_direction(const LambStep& s, T w, T m, T v) {
  return T(s.weight_decay) * w + m * T(s.mean_correction) / (sqrt(v) * T(s.square_correction) + T(s.eps));
}

// Moves the moments; Σw² and Σu².
struct LambMoments {
  using S = LambStep;
  static constexpr int sums = 2;

  template <class T, int N>
  static SIMT_DEVICE void add(const S& s, int64_t i, double (&to)[sums]) {
    T w[N], m[N], v[N];
    move_moments(s, i, m, v);
    read(of_term<const T>(s.parameter, s), i, w);
    for (int k = 0; k < N; ++k) {
      const double direction = lamb_direction(s, w[k], m[k], v[k]);
      to[0] += double(w[k]) * double(w[k]);
      to[1] += direction * direction;
    }
  }
  // lr·r
  static SIMT_DEVICE double result(const S& s, const double (&squares)[sums]) {
    const double w = sqrt(squares[0]), u = sqrt(squares[1]);
    return s.lr * (s.trust && w > s.norm_floor && u > 0 ? w / u : 1);
  }
};

struct Lamb {
  using S = LambStep;
  Array<const double> rates;

  template <class T, int N>
  SIMT_DEVICE void update(const S& s, int64_t term, int64_t i) const {
    T w[N], m[N], v[N];
    read(of_term<const T>(s.parameter, s), i, w);
    read(of_term<const T>(s.mean, s), i, m);
    read(of_term<const T>(s.square, s), i, v);
    for (int k = 0; k < N; ++k) w[k] -= T(rates[term]) * lamb_direction(s, w[k], m[k], v[k]);
    write(of_term<T>(s.parameter, s), i, w);
  }
};

struct Product {
  using S = Pair;
  static constexpr int sums = 1;

  template <class T, int N>
  static SIMT_DEVICE void add(const S& s, int64_t i, double (&to)[sums]) {
    Compute<T> x[N], y[N];
    read(of_term<const T>(s.x, s), i, x);
    if (s.x == s.y)  // a norm: read once
      for (int k = 0; k < N; ++k) y[k] = x[k];
    else
      read(of_term<const T>(s.y, s), i, y);
    for (int k = 0; k < N; ++k) to[0] += double(x[k]) * double(y[k]);
  }
  static SIMT_DEVICE double result(const S&, const double (&products)[sums]) { return products[0]; }
};

// T of SAM.
template <class C>
SIMT_DEVICE C perturbation_scale(const Perturbation& s, C w) {
  return s.scaled ? fabs(w) + C(s.eta) : C(1);
}

struct PerturbationSquares {
  using S = Perturbation;
  static constexpr int sums = 1;

  template <class T, int N>
  static SIMT_DEVICE void add(const S& s, int64_t i, double (&to)[sums]) {
    T w[N] = {}, g[N];
    if (s.scaled) read(of_term<const T>(s.parameter, s), i, w);
    read(of_term<const T>(s.gradient, s), i, g);
    for (int k = 0; k < N; ++k) {
      const double scaled = g[k] * perturbation_scale(s, w[k]);
      to[0] += scaled * scaled;
    }
  }
  static SIMT_DEVICE double result(const S&, const double (&squares)[sums]) { return squares[0]; }
};

struct Perturb {
  using S = Perturbation;

  template <class T, int N>
  SIMT_DEVICE void update(const S& s, int64_t, int64_t i) const {
    T w[N], g[N];
    read(of_term<const T>(s.parameter, s), i, w);
    read(of_term<const T>(s.gradient, s), i, g);
    for (int k = 0; k < N; ++k) {
      const T scale = perturbation_scale(s, w[k]);
      w[k] += T(s.factor) * (scale * scale * g[k]);
    }
    write(of_term<T>(s.parameter, s), i, w);
  }
};

struct Scale {
  using S = Scaling;
  Array<const double> gate;

  template <class T, int N>
  SIMT_DEVICE void update(const S& s, int64_t, int64_t i) const {
    Compute<T> x[N];
    read(of_term<const T>(s.x, s), i, x);
    const double factor = gate.size > 0 ? s.factor * double(gate[0]) : s.factor;
    for (int k = 0; k < N; ++k) x[k] *= Compute<T>(factor);
    write(of_term<T>(s.x, s), i, x);
  }
};

// The norm, and the gate: the sum of the squares is of one block's threads.
template <class L>
struct Clip {
  static constexpr int threads = piece_threads;
  Array<const double> squares;
  Array<const L> loss;
  double most;
  Array<double> norm, gate;

  SIMT_DEVICE void operator()() const {
    double sum = 0;
    for (int64_t i = simt::thread_index(); i < squares.size; i += threads) sum += squares[i];
    sum = Team<threads>::sum(sum);
    if (simt::thread_index() != 0) return;
    const double length = sqrt(sum), factor = most / (length + 1e-6);
    const double of_loss = loss.size > 0 ? double(widen(L(loss[0]))) : 0;
    const double no_hindrance = (length - length) + (of_loss - of_loss);  // 0, or NaN
    norm[0] = length;
    gate[0] = no_hindrance + (factor < 1 ? factor : 1);
  }
};

struct Add {
  using S = Pair;

  template <class T, int N>
  SIMT_DEVICE void update(const S& s, int64_t, int64_t i) const {
    Compute<T> x[N], y[N];
    read(of_term<const T>(s.x, s), i, x);
    read(of_term<const T>(s.y, s), i, y);
    for (int k = 0; k < N; ++k) y[k] += Compute<T>(s.factor) * x[k];
    write(of_term<T>(s.y, s), i, y);
  }
};

struct Move {
  using S = Pair;

  template <class T, int N>
  SIMT_DEVICE void update(const S& s, int64_t, int64_t i) const {
    Compute<T> x[N];
    read(of_term<const T>(s.x, s), i, x);
    write(of_term<T>(s.y, s), i, x);
  }
};

template <class S>
Array<const S> terms_of(const Table<S>& table) {
  return {table.terms, table.size};
}

// f(T{}) for the dtype of parameters.
template <class F>
void visit_parameter(DType dtype, F f) {
  dtype == DType::f64 ? f(double{}) : f(float{});
}

template <class T, class Rule>
void launch_update(const Table<typename Rule::S>& table, const Rule& rule, const View& gate = {}) {
  simt::launch(simt::blocks_for(table.pieces, 1),
               Update<T, Rule>{terms_of(table), table.pieces, rule, elements<const double>(gate)});
}

template <class T, class Rule>
void launch_sums(const Table<typename Rule::S>& table, const View& parts, const View& results, const View& gate = {}) {
  const auto open = elements<const double>(gate);
  simt::launch(simt::blocks_for(table.pieces, 1),
               PartSums<T, Rule>{terms_of(table), table.pieces, elements<double>(parts), open});
  simt::launch(simt::blocks_for(table.size, 1),
               TermSums<Rule>{terms_of(table), elements<const double>(parts), elements<double>(results), open});
}

}  // namespace

void launch_sgd(const Table<SgdStep>& table, View gate) {
  visit_parameter(table.dtype, [&](auto t) { launch_update<decltype(t)>(table, Sgd{}, gate); });
}

void launch_adamw(const Table<AdamWStep>& table, View gate) {
  visit_parameter(table.dtype, [&](auto t) { launch_update<decltype(t)>(table, AdamW{}, gate); });
}

void launch_lamb(const Table<LambStep>& table, View parts, View rates, View gate) {
  visit_parameter(table.dtype, [&](auto t) {
    launch_sums<decltype(t), LambMoments>(table, parts, rates, gate);
    launch_update<decltype(t)>(table, Lamb{elements<const double>(rates)}, gate);
  });
}

void launch_perturb(const Table<Perturbation>& table) {
  visit_parameter(table.dtype, [&](auto t) { launch_update<decltype(t)>(table, Perturb{}); });
}

void launch_scale(const Table<Scaling>& table, View gate) {
  visit_floating(table.dtype,
                 [&](auto t) { launch_update<decltype(t)>(table, Scale{elements<const double>(gate)}, gate); });
}

void launch_clip(View squares, View loss, double most, View norm, View gate) {
  visit_floating(loss.dtype, [&](auto t) {
    simt::launch({1}, Clip<decltype(t)>{elements<const double>(squares), elements<const decltype(t)>(loss), most,
                                        elements<double>(norm), elements<double>(gate)});
  });
}

void launch_add(const Table<Pair>& table) {
  visit_floating(table.dtype, [&](auto t) { launch_update<decltype(t)>(table, Add{}); });
}

void launch_move(const Table<Pair>& table) {
  visit_floating(table.dtype, [&](auto t) { launch_update<decltype(t)>(table, Move{}); });
}

void launch_products(const Table<Pair>& table, View parts, View sums) {
  visit_floating(table.dtype, [&](auto t) { launch_sums<decltype(t), Product>(table, parts, sums); });
}

void launch_perturbation_squares(const Table<Perturbation>& table, View parts, View sums) {
  visit_parameter(table.dtype, [&](auto t) { launch_sums<decltype(t), PerturbationSquares>(table, parts, sums); });
}

}  // namespace mora::kernels::cuda
