// Softmax and what is built on it. A row is read in chunks that stay in the first-level cache: each gives its maximum
// and its sum of exponentials, and the chunks' pairs are combined in order. Where there are fewer rows than threads,
// the chunks of a row go to different threads; the result is the same.
#include "kernels/softmax.h"

#include <algorithm>
#include <limits>

#include "kernels/checks.h"
#include "kernels/cpu/elements.h"
#include "kernels/cpu/scratch.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/softmax.cpp"
#include "kernels/cpu/foreach_target.h"

#include "kernels/cpu/simd.h"
#include "kernels/cpu/simd_math.h"

HWY_BEFORE_NAMESPACE();
namespace mora::kernels::cpu::HWY_NAMESPACE {
namespace {

constexpr int64_t chunk_length = 4096;
int64_t chunks_of(int64_t length) { return std::max<int64_t>(1, (length + chunk_length - 1) / chunk_length); }

// Of a run of numbers: the largest, and Σ exp(x − largest).
template <class C>
struct Normalizer {
  C largest, sum;
};

template <class T>
Compute<T> largest_of_chunk(const T* x, int64_t n) {
  const Tag<T> d;
  const auto lowest = hn::Set(d, -std::numeric_limits<Compute<T>>::infinity());
  const auto largest = fold_vectors(
      d, n, lowest,
      [&](auto m, int64_t i, auto... count) HWY_ATTR {
        auto v = load(d, x + i, count...);
        if constexpr (sizeof...(count) > 0) v = hn::IfThenElse(hn::FirstN(d, size_t(n - i)), v, lowest);
        return hn::Max(m, v);
      },
      [](auto a, auto b) HWY_ATTR { return hn::Max(a, b); });
  return hn::GetLane(hn::MaxOfLanes(d, largest));
}

template <class T>
Normalizer<Compute<T>> normalizer_of_chunk(const T* x, int64_t n) {
  using C = Compute<T>;
  constexpr C lowest = -std::numeric_limits<C>::infinity();
  const Tag<T> d;
  const C largest = largest_of_chunk(x, n);
  const auto base = hn::Set(d, largest == lowest ? C(0) : largest);  // −inf − −inf would be NaN
  const auto sum = sum_vectors(d, n, [&](auto s, int64_t i, auto... count) HWY_ATTR {
    auto power = exp_nonpositive(d, hn::Sub(load(d, x + i, count...), base));
    if constexpr (sizeof...(count) > 0) power = hn::IfThenElseZero(hn::FirstN(d, size_t(n - i)), power);
    return hn::Add(s, power);
  });
  return {largest, hn::GetLane(sum)};
}

// The pairs of a row's chunks as one.
template <class C>
Normalizer<C> combine(const Normalizer<C>* parts, int64_t n) {
  const hn::ScalableTag<C> d;
  Normalizer<C> all = parts[0];
  for (int64_t i = 1; i < n; ++i) all.largest = std::max(all.largest, parts[i].largest);
  all.sum = 0;
  for (int64_t i = 0; i < n; ++i) {
    const C below = parts[i].largest - all.largest;
    all.sum += parts[i].largest == all.largest ? parts[i].sum : parts[i].sum * hn::GetLane(exp(d, hn::Set(d, below)));
  }
  return all;
}

template <class C>
C log_of_sum(const Normalizer<C>& n) {
  const hn::ScalableTag<C> d;
  return n.largest + hn::GetLane(log(d, hn::Set(d, n.sum)));
}

// Calls use(row, normalizer, begin, end) so that each row is covered, by whole rows or by chunks of it.
template <class T, class F>
void with_normalizers(const T* x, int64_t rows, int64_t length, F use) {
  using Part = Normalizer<Compute<T>>;
  const int64_t chunks = chunks_of(length);
  const auto part = [&](int64_t row, int64_t chunk) {
    const int64_t begin = chunk * chunk_length;
    return normalizer_of_chunk(x + row * length + begin, std::min(chunk_length, length - begin));
  };
  if (rows >= threads() || chunks == 1) {
    parallel_for(rows, row_grain(length), [&](int64_t begin, int64_t end) {
      Scratch<Part> parts(chunks);
      for (int64_t row = begin; row < end; ++row) {
        for (int64_t i = 0; i < chunks; ++i) parts[i] = part(row, i);
        use(row, combine(parts.data(), chunks), 0, length);
      }
    });
    return;
  }
  Scratch<Part> parts(chunks);
  for (int64_t row = 0; row < rows; ++row) {
    parallel_for(chunks, 4, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) parts[i] = part(row, i);
    });
    const Part whole = combine(parts.data(), chunks);
    parallel_for(length, element_grain, [&](int64_t begin, int64_t end) { use(row, whole, begin, end); });
  }
}

// Rows of one chunk each: the exponentials are computed once, and wait in the first-level cache for their sum. The next
// row's maximum is taken meanwhile.
template <class T>
void softmax_of_short_rows(const T* x, T* y, int64_t rows, int64_t length) {
  parallel_for(rows, row_grain(length), [=](int64_t begin, int64_t end) {
    using C = Compute<T>;
    const Tag<T> d;
    Scratch<C> powers(length);
    C* e = powers.data();
    C next_largest = largest_of_chunk(x + begin * length, length);
    for (int64_t row = begin; row < end; ++row) {
      const int64_t at = row * length;
      const auto largest = hn::Set(d, next_largest);
      const auto sum = fold_vectors(
          d, length, hn::Zero(d),
          [&](auto total, int64_t i, auto... count) HWY_ATTR {
            auto power = exp_nonpositive(d, hn::Sub(load(d, x + at + i, count...), largest));
            store(power, d, e + i, count...);
            if constexpr (sizeof...(count) > 0) power = load(d, e + i, count...);  // 0 beyond the row
            return hn::Add(total, power);
          },
          [](auto a, auto b) HWY_ATTR { return hn::Add(a, b); });
      if (row + 1 < end) next_largest = largest_of_chunk(x + at + length, length);
      const auto scale = hn::Set(d, 1 / hn::GetLane(hn::SumOfLanes(d, sum)));
      map(
          d, length, [&](auto v) HWY_ATTR { return hn::Mul(v, scale); }, y + at, e);
    }
  });
}

template <class T>
void softmax_as(const Tensor& x, Tensor& y, bool logarithm) {
  const T* from = x.data<T>();
  T* to = y.mutable_data<T>();
  const int64_t rows = x.dim(0), length = x.dim(1);
  if (!logarithm && length <= chunk_length) return softmax_of_short_rows(from, to, rows, length);
  with_normalizers(from, rows, length, [=](int64_t row, auto normalizer, int64_t begin, int64_t end) {
    const Tag<T> d;
    const int64_t at = row * length + begin;
    const auto shift = hn::Set(d, logarithm ? log_of_sum(normalizer) : normalizer.largest);
    const auto scale = hn::Set(d, 1 / normalizer.sum);
    if (logarithm)
      map(
          d, end - begin, [&](auto v) HWY_ATTR { return hn::Sub(v, shift); }, to + at, from + at);
    else
      map(
          d, end - begin, [&](auto v) HWY_ATTR { return hn::Mul(exp_nonpositive(d, hn::Sub(v, shift)), scale); },
          to + at, from + at);
  });
}

// Σ a·b over a row; with b null, Σ a.
template <class T>
hn::Vec<Tag<T>> sum_of_products(const T* a, const T* b, int64_t n) {
  const Tag<T> d;
  return sum_vectors(d, n, [&](auto sum, int64_t i, auto... count) HWY_ATTR {
    const auto v = load(d, a + i, count...);
    return b ? hn::MulAdd(v, load(d, b + i, count...), sum) : hn::Add(sum, v);
  });
}

template <class T>
void softmax_backward_as(const Tensor& y, const Tensor& gy, Tensor& gx, bool logarithm) {
  const T* py = y.data<T>();
  const T* pg = gy.data<T>();
  T* to = gx.mutable_data<T>();
  const int64_t length = y.dim(1);
  parallel_for(y.dim(0), row_grain(length), [&](int64_t begin, int64_t end) {
    const Tag<T> d;
    for (int64_t at = begin * length; at < end * length; at += length) {
      const auto sum = sum_of_products(pg + at, logarithm ? nullptr : py + at, length);
      if (logarithm)
        map(
            d, length, [&](auto v, auto g) HWY_ATTR { return hn::NegMulAdd(exp(d, v), sum, g); }, to + at, py + at,
            pg + at);
      else
        map(
            d, length, [&](auto v, auto g) HWY_ATTR { return hn::Mul(v, hn::Sub(g, sum)); }, to + at, py + at, pg + at);
    }
  });
}

template <class T>
void cross_entropy_as(const Tensor& x, const int32_t* labels, Tensor& loss, Tensor& lse) {
  using C = Compute<T>;
  const T* from = x.data<T>();
  C* loss_out = loss.mutable_data<C>();
  C* lse_out = lse.mutable_data<C>();
  const int64_t length = x.dim(1);
  with_normalizers(from, x.dim(0), length, [=](int64_t row, auto normalizer, int64_t begin, int64_t) {
    if (begin > 0) return;  // the first chunk's thread writes the row's two numbers
    lse_out[row] = log_of_sum(normalizer);
    loss_out[row] = labels[row] < 0 ? C(0) : lse_out[row] - C(from[row * length + labels[row]]);
  });
}

template <class T>
void cross_entropy_backward_as(const Tensor& x, const int32_t* labels, const Tensor& lse, const Tensor& gloss,
                               Tensor& gx) {
  using C = Compute<T>;
  const T* from = x.data<T>();
  const C* lse_in = lse.data<C>();
  const C* g = gloss.data<C>();
  T* to = gx.mutable_data<T>();
  const int64_t length = x.dim(1);
  const auto part_of_row = [=](int64_t row, int64_t begin, int64_t end) {
    const Tag<T> d;
    const int64_t at = row * length;
    const int64_t label = labels[row];
    if (label < 0) {
      std::fill(to + at + begin, to + at + end, T(C(0)));
      return;
    }
    const bool mine = label >= begin && label < end;
    const C at_label = mine ? C(from[at + label]) : C(0);  // before gx, which may be x, is written
    const auto shift = hn::Set(d, lse_in[row]), scale = hn::Set(d, g[row]);
    map(
        d, end - begin, [&](auto v) HWY_ATTR { return hn::Mul(scale, exp_nonpositive(d, hn::Sub(v, shift))); },
        to + at + begin, from + at + begin);
    if (mine) {
      const C p = hn::GetLane(exp(d, hn::Set(d, at_label - lse_in[row])));
      to[at + label] = T(g[row] * (p - 1));
    }
  };
  if (x.dim(0) >= threads()) {
    parallel_for(x.dim(0), row_grain(length), [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) part_of_row(row, 0, length);
    });
  } else {
    for (int64_t row = 0; row < x.dim(0); ++row)
      parallel_for(length, element_grain, [&](int64_t begin, int64_t end) { part_of_row(row, begin, end); });
  }
}

void run_softmax(const Tensor& x, Tensor& y, bool logarithm) {
  visit_floating(x.dtype(), "softmax", [&]<class T>(T) { softmax_as<T>(x, y, logarithm); });
}
void run_softmax_backward(const Tensor& y, const Tensor& gy, Tensor& gx, bool logarithm) {
  visit_floating(y.dtype(), "softmax", [&]<class T>(T) { softmax_backward_as<T>(y, gy, gx, logarithm); });
}
void run_cross_entropy(const Tensor& x, const int32_t* labels, Tensor& loss, Tensor& lse) {
  visit_floating(x.dtype(), "cross_entropy", [&]<class T>(T) { cross_entropy_as<T>(x, labels, loss, lse); });
}
void run_cross_entropy_backward(const Tensor& x, const int32_t* labels, const Tensor& lse, const Tensor& gloss,
                                Tensor& gx) {
  visit_floating(x.dtype(), "cross_entropy",
                 [&]<class T>(T) { cross_entropy_backward_as<T>(x, labels, lse, gloss, gx); });
}

}  // namespace
}  // namespace mora::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mora::kernels::cpu {
namespace {

HWY_EXPORT(run_softmax);
HWY_EXPORT(run_softmax_backward);
HWY_EXPORT(run_cross_entropy);
HWY_EXPORT(run_cross_entropy_backward);

// The labels of x's rows. Throws ShapeError on one that names no column.
const int32_t* checked_labels(const Tensor& x, const Tensor& labels) {
  for (const int32_t label : labels.values<int32_t>())
    if (label >= x.dim(1)) reject_label(label, x.dim(1));
  return labels.data<int32_t>();
}

}  // namespace

void softmax(const Tensor& x, Tensor& y) {
  check_softmax("softmax", x, {&y});
  HWY_DYNAMIC_DISPATCH(run_softmax)(x, y, false);
}

void softmax_backward(const Tensor& y, const Tensor& gy, Tensor& gx) {
  check_softmax("softmax_backward", y, {&gy, &gx});
  HWY_DYNAMIC_DISPATCH(run_softmax_backward)(y, gy, gx, false);
}

void log_softmax(const Tensor& x, Tensor& y) {
  check_softmax("log_softmax", x, {&y});
  HWY_DYNAMIC_DISPATCH(run_softmax)(x, y, true);
}

void log_softmax_backward(const Tensor& y, const Tensor& gy, Tensor& gx) {
  check_softmax("log_softmax_backward", y, {&gy, &gx});
  HWY_DYNAMIC_DISPATCH(run_softmax_backward)(y, gy, gx, true);
}

void cross_entropy(const Tensor& x, const Tensor& labels, Tensor& loss, Tensor& lse) {
  check_softmax("cross_entropy", x, {&x});
  check_cross_entropy("cross_entropy", x, labels, loss, lse);
  HWY_DYNAMIC_DISPATCH(run_cross_entropy)(x, checked_labels(x, labels), loss, lse);
}

void cross_entropy_backward(const Tensor& x, const Tensor& labels, const Tensor& lse, const Tensor& gloss, Tensor& gx) {
  check_softmax("cross_entropy_backward", x, {&gx});
  check_cross_entropy("cross_entropy_backward", x, labels, gloss, lse);
  HWY_DYNAMIC_DISPATCH(run_cross_entropy_backward)(x, checked_labels(x, labels), lse, gloss, gx);
}

}  // namespace mora::kernels::cpu
#endif
