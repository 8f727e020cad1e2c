// Softmax and what is built on it. A row's maximum and its sum of exponentials are found in one reading: each thread
// keeps both of what it has seen, and scales its sum where a larger number comes.
#include "kernels/cuda/softmax.h"

#include "kernels/cuda/index_errors.h"
#include "kernels/cuda/rows.h"

namespace mora::kernels::cuda {
namespace {

// Of a run of numbers: the largest, and Σ exp(x − largest).
template <class C>
struct Normalizer {
  C largest = -C(INFINITY), sum = 0;

  // exp(x − largest), where −inf − −inf would be NaN.
  SIMT_DEVICE C power(C x) const { return exp(x - (largest == -C(INFINITY) ? C(0) : largest)); }

  template <int N>
  SIMT_DEVICE void add(const C (&x)[N]) {
    C top = x[0];
    for (int k = 1; k < N; ++k) top = Maximum{}(x[k], top);
    if (top > largest) {
      sum *= exp(largest - top);
      largest = top;
    }
    for (int k = 0; k < N; ++k) sum += power(x[k]);
  }
  SIMT_DEVICE C log_of_sum() const { return largest + log(sum); }
};

// The whole team's of a row.
template <class T, int team>
SIMT_DEVICE Normalizer<Compute<T>> normalizer_of_row(const Array<const T>& x, int64_t begin, int64_t length,
                                                     bool packed) {
  Normalizer<Compute<T>> own, all;
  for_each_of_row<T, team>(begin, length, packed, [&](int64_t i, auto width) {
    Compute<T> v[width.value];
    read(x, i, v);
    own.add(v);
  });
  all.largest = Team<team>::maximum(own.largest);
  all.sum = Team<team>::sum(own.largest == all.largest ? own.sum : own.sum * exp(own.largest - all.largest));
  return all;
}

template <class T, int team>
struct Softmax {
  static constexpr int threads = row_threads;
  Array<const T> x;
  Array<T> y;
  int64_t rows, length;
  bool logarithm, packed;

  SIMT_DEVICE void operator()() const {
    for (int64_t row = Team<team>::index(); row < rows; row += Team<team>::count()) {
      const auto normalizer = normalizer_of_row<T, team>(x, row * length, length, packed);
      const Compute<T> shift = logarithm ? normalizer.log_of_sum() : normalizer.largest;
      const Compute<T> scale = Compute<T>(1) / normalizer.sum;
      for_each_of_row<T, team>(row * length, length, packed, [&](int64_t i, auto width) {
        Compute<T> v[width.value];
        read(x, i, v);
        for (int k = 0; k < width.value; ++k) v[k] = logarithm ? v[k] - shift : exp(v[k] - shift) * scale;
        write(y, i, v);
      });
    }
  }
};

template <class T, int team>
struct SoftmaxBackward {
  static constexpr int threads = row_threads;
  Array<const T> y, gy;
  Array<T> gx;
  int64_t rows, length;
  bool logarithm, packed;

  SIMT_DEVICE void operator()() const {
    for (int64_t row = Team<team>::index(); row < rows; row += Team<team>::count()) {
      Compute<T> sum = 0;
      for_each_of_row<T, team>(row * length, length, packed, [&](int64_t i, auto width) {
        Compute<T> v[width.value] = {}, g[width.value];
        read(gy, i, g);
        if (!logarithm) read(y, i, v);
        for (int k = 0; k < width.value; ++k) sum += logarithm ? g[k] : g[k] * v[k];
      });
      sum = Team<team>::sum(sum);
      for_each_of_row<T, team>(row * length, length, packed, [&](int64_t i, auto width) {
        Compute<T> v[width.value], g[width.value];
        read(gy, i, g);
        read(y, i, v);
        for (int k = 0; k < width.value; ++k) v[k] = logarithm ? g[k] - exp(v[k]) * sum : v[k] * (g[k] - sum);
        write(gx, i, v);
      });
    }
  }
};

template <class T, int team>
struct CrossEntropy {
  static constexpr int threads = row_threads;
  Array<const T> x;
  Array<const int32_t> labels;
  Array<Compute<T>> loss, lse;
  int64_t length;
  bool packed;
  IndexErrors errors;

  SIMT_DEVICE void operator()() const {
    for (int64_t row = Team<team>::index(); row < labels.size; row += Team<team>::count()) {
      const auto normalizer = normalizer_of_row<T, team>(x, row * length, length, packed);
      if (Team<team>::rank() != 0) continue;
      const int32_t label = labels[row];
      lse[row] = normalizer.log_of_sum();
      if (label < length)
        loss[row] = label < 0 ? Compute<T>(0) : lse[row] - widen(x[row * length + label]);
      else
        reject(row, label);
    }
  }

  SIMT_DEVICE void reject(int64_t row, int32_t label) const {
    loss[row] = Compute<T>(NAN);
    errors.remember(IndexKind::label, label, length);
  }
};

template <class T, int team>
struct CrossEntropyBackward {
  static constexpr int threads = row_threads;
  Array<const T> x;
  Array<const int32_t> labels;
  Array<const Compute<T>> lse, gloss;
  Array<T> gx;  // may be x
  int64_t length;
  bool packed;
  IndexErrors errors;

  SIMT_DEVICE void operator()() const {
    for (int64_t row = Team<team>::index(); row < labels.size; row += Team<team>::count()) {
      const int32_t label = labels[row];
      if (label >= length && Team<team>::rank() == 0) errors.remember(IndexKind::label, label, length);
      const int64_t begin = row * length, at_label = begin + label;
      const Compute<T> shift = lse[row], g = gloss[row];
      for_each_of_row<T, team>(begin, length, packed, [&](int64_t i, auto width) {
        Compute<T> v[width.value] = {};
        if (label >= 0) {
          read(x, i, v);
          for (int k = 0; k < width.value; ++k) v[k] = g * (exp(v[k] - shift) - Compute<T>(i + k == at_label ? 1 : 0));
        }
        write(gx, i, v);
      });
    }
  }
};

}  // namespace

void launch_softmax(View x, View y, int64_t length, bool logarithm) {
  if (x.size == 0) return;
  const int64_t rows = x.size / length;
  visit_floating(x.dtype, [&](auto t) {
    using T = decltype(t);
    launch_rows(rows, length, [&](auto team) {
      return Softmax<T, team.value>{elements<const T>(x), elements<T>(y), rows, length, logarithm, all_packed(x, y)};
    });
  });
}

void launch_softmax_backward(View y, View gy, View gx, int64_t length, bool logarithm) {
  if (y.size == 0) return;
  const int64_t rows = y.size / length;
  visit_floating(y.dtype, [&](auto t) {
    using T = decltype(t);
    launch_rows(rows, length, [&](auto team) {
      return SoftmaxBackward<T, team.value>{
          elements<const T>(y), elements<const T>(gy), elements<T>(gx), rows, length, logarithm, all_packed(y, gy, gx)};
    });
  });
}

void launch_cross_entropy(View x, View labels, View loss, View lse, int64_t length, View errors) {
  visit_floating(x.dtype, [&](auto t) {
    using T = decltype(t);
    using C = Compute<T>;
    launch_rows(labels.size, length, [&](auto team) {
      return CrossEntropy<T, team.value>{elements<const T>(x),
                                         elements<const int32_t>(labels),
                                         elements<C>(loss),
                                         elements<C>(lse),
                                         length,
                                         all_packed(x),
                                         index_errors(errors)};
    });
  });
}

void launch_cross_entropy_backward(View x, View labels, View lse, View gloss, View gx, int64_t length, View errors) {
  visit_floating(x.dtype, [&](auto t) {
    using T = decltype(t);
    using C = Compute<T>;
    launch_rows(labels.size, length, [&](auto team) {
      return CrossEntropyBackward<T, team.value>{elements<const T>(x),   elements<const int32_t>(labels),
                                                 elements<const C>(lse), elements<const C>(gloss),
                                                 elements<T>(gx),        length,
                                                 all_packed(x, gx),      index_errors(errors)};
    });
  });
}

}  // namespace mora::kernels::cuda
