// Layer norm and RMS norm, one row at a time; the second pass over a row reads it from cache. With x̂ = (x − μ)·rstd
// (μ = 0 for RMS norm) and g = gy·w:
//   gx = rstd·(g − mean(g) − x̂·mean(g·x̂))     gw = Σ_n gy·x̂     gb = Σ_n gy
// without mean(g) for RMS norm. Each thread sums gw and gb over its rows; the sums are added in the order of the
// threads.
#include "kernels/norm.h"

#include <algorithm>
#include <cmath>

#include "kernels/checks.h"
#include "kernels/cpu/elements.h"
#include "kernels/cpu/scratch.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/norm.cpp"
#include "kernels/cpu/foreach_target.h"

#include "kernels/cpu/norm_rows.h"
#include "kernels/cpu/simd.h"

HWY_BEFORE_NAMESPACE();
namespace mora::kernels::cpu::HWY_NAMESPACE {
namespace {

// A vector (d) in the type of the arithmetic: the tensor's own memory, or a converted copy; null where undefined.
template <class C>
class Weights {
 public:
  Weights(const Tensor& t, std::string_view op) {
    if (!t.defined()) return;
    if (t.dtype() == dtype_of<C>) {
      data_ = t.data<C>();
      return;
    }
    copy_ = Scratch<C>(t.numel());
    visit_floating(t.dtype(), op, [&]<class T>(T) {
      const hn::ScalableTag<C> d;
      if constexpr (sizeof(T) <= sizeof(C))
        map(
            d, t.numel(), [](auto v) HWY_ATTR { return v; }, copy_.data(), t.data<T>());
      else
        fail<DTypeError>("{}: f64 weights for rows of a smaller dtype", op);
    });
    data_ = copy_.data();
  }
  const C* data() const { return data_; }

 private:
  Scratch<C> copy_;
  const C* data_ = nullptr;
};

template <class T>
struct Backward {
  const T *x, *gy;
  const Compute<T>* w;
  const Compute<T>*mean, *rstd;  // mean null for RMS norm
  T* gx;                         // may be null
  int64_t length;

  // gw and gb: this thread's sums, or null.
  void row(int64_t n, Compute<T>* gw, Compute<T>* gb) const {
    using C = Compute<T>;
    const Tag<T> d;
    const T* px = x + n * length;
    const T* pg = gy + n * length;
    const auto* vw = w;  // not the member: a store may change whatever a pointer leads to
    const auto mu = hn::Set(d, mean ? mean[n] : C(0)), scale = hn::Set(d, rstd[n]);
    struct Sums {
      hn::Vec<Tag<T>> g, product;  // Σ g, Σ g·(x − μ)
    };
    const auto sums = fold_vectors(
        d, length, Sums{hn::Zero(d), hn::Zero(d)},
        [&](Sums s, int64_t i, auto... count) HWY_ATTR {
          const auto v = hn::Sub(load(d, px + i, count...), mu), vg = load(d, pg + i, count...);
          if (gw) store(hn::MulAdd(vg, hn::Mul(v, scale), load(d, gw + i, count...)), d, gw + i, count...);
          if (gb) store(hn::Add(vg, load(d, gb + i, count...)), d, gb + i, count...);
          const auto g = hn::Mul(vg, load(d, vw + i, count...));
          return Sums{hn::Add(s.g, g), hn::MulAdd(g, v, s.product)};
        },
        [](Sums a, Sums b) HWY_ATTR {
          return Sums{hn::Add(a.g, b.g), hn::Add(a.product, b.product)};
        });
    if (!gx) return;
    const auto share = hn::Set(d, C(1) / C(length));
    const auto mean_g = mean ? hn::Mul(hn::SumOfLanes(d, sums.g), share) : hn::Zero(d);
    // mean(g·x̂)·rstd, so that x̂'s own rstd is in it
    const auto slope = hn::Mul(hn::Mul(hn::SumOfLanes(d, sums.product), share), hn::Mul(scale, scale));
    map(
        d, length,
        [&](auto v, auto g, auto weight)
            HWY_ATTR { return hn::Mul(scale, hn::NegMulAdd(hn::Sub(v, mu), slope, hn::MulSub(g, weight, mean_g))); },
        gx + n * length, px, pg, vw);
  }
};

// to = the sum of `parts` vectors, in order, in to's dtype.
template <class C>
void write_sum(const C* partial, int64_t parts, int64_t stride, Tensor& to) {
  const hn::ScalableTag<C> d;
  const int64_t n = to.numel();
  Scratch<C> sum(n);
  std::copy_n(partial, n, sum.data());
  for (int64_t i = 1; i < parts; ++i)
    map(
        d, n, [](auto a, auto b) HWY_ATTR { return hn::Add(a, b); }, sum.data(), sum.data(), partial + i * stride);
  visit_floating(to.dtype(), "norm", [&]<class T>(T) {
    if constexpr (sizeof(T) <= sizeof(C))
      map(
          d, n, [](auto v) HWY_ATTR { return v; }, to.mutable_data<T>(), sum.data());
    else
      fail<DTypeError>("norm: f64 gradients of weights for rows of a smaller dtype");
  });
}

template <class T>
void forward_as(const Tensor& x, const Tensor& w, const Tensor& b, Tensor& y, Tensor& mean, Tensor& rstd, double eps) {
  using C = Compute<T>;
  const Weights<C> vw(w, "norm"), vb(b, "norm");
  const int64_t length = w.numel();
  const NormRows<T> forward{x.data<T>(),
                            vw.data(),
                            vb.data(),
                            y.mutable_data<T>(),
                            mean.defined() ? mean.mutable_data<C>() : nullptr,
                            rstd.mutable_data<C>(),
                            length,
                            C(eps)};
  parallel_for(rstd.numel(), row_grain(length), [&](int64_t begin, int64_t end) { forward.rows(begin, end); });
}

template <class T>
void backward_as(const Tensor& x, const Tensor& w, const Tensor& mean, const Tensor& rstd, const Tensor& gy, Tensor& gx,
                 Tensor& gw, Tensor& gb) {
  using C = Compute<T>;
  const Weights<C> vw(w, "norm");
  const int64_t length = w.numel(), rows = rstd.numel();
  const Backward<T> backward{x.data<T>(),    gy.data<T>(),
                             vw.data(),      mean.defined() ? mean.data<C>() : nullptr,
                             rstd.data<C>(), gx.defined() ? gx.mutable_data<T>() : nullptr,
                             length};
  const int64_t parts = std::clamp<int64_t>(rows / row_grain(length), 1, threads());
  // Each thread's gw, then its gb, so that an element of one is not a multiple of 4 KiB from what was just stored to
  // the other: a load may wait for such a store.
  const int64_t stride = (length + 1023) / 1024 * 1024 + 64;
  Scratch<C> sums(gw.defined() || gb.defined() ? 2 * parts * stride : 0);
  parallel_for(parts, 1, [&](int64_t begin, int64_t end) {
    for (int64_t part = begin; part < end; ++part) {
      C* part_w = gw.defined() ? sums.data() + 2 * part * stride : nullptr;
      C* part_b = gb.defined() ? sums.data() + (2 * part + 1) * stride : nullptr;
      if (part_w) std::fill_n(part_w, length, C(0));
      if (part_b) std::fill_n(part_b, length, C(0));
      for (int64_t n = rows * part / parts; n < rows * (part + 1) / parts; ++n) backward.row(n, part_w, part_b);
    }
  });
  if (gw.defined()) write_sum(sums.data(), parts, 2 * stride, gw);
  if (gb.defined()) write_sum(sums.data() + stride, parts, 2 * stride, gb);
}

void run_norm(const Tensor& x, const Tensor& w, const Tensor& b, Tensor& y, Tensor& mean, Tensor& rstd, double eps) {
  visit_floating(x.dtype(), "norm", [&]<class T>(T) { forward_as<T>(x, w, b, y, mean, rstd, eps); });
}
void run_norm_backward(const Tensor& x, const Tensor& w, const Tensor& mean, const Tensor& rstd, const Tensor& gy,
                       Tensor& gx, Tensor& gw, Tensor& gb) {
  visit_floating(x.dtype(), "norm", [&]<class T>(T) { backward_as<T>(x, w, mean, rstd, gy, gx, gw, gb); });
}

}  // namespace
}  // namespace mora::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mora::kernels::cpu {
namespace {

HWY_EXPORT(run_norm);
HWY_EXPORT(run_norm_backward);

}  // namespace

void layer_norm(const Tensor& x, const Tensor& w, const Tensor& b, Tensor& y, Tensor& mean, Tensor& rstd, double eps) {
  check_norm("layer_norm", x, w, b, y, mean, rstd);
  HWY_DYNAMIC_DISPATCH(run_norm)(x, w, b, y, mean, rstd, eps);
}

void layer_norm_backward(const Tensor& x, const Tensor& w, const Tensor& mean, const Tensor& rstd, const Tensor& gy,
                         Tensor& gx, Tensor& gw, Tensor& gb) {
  check_norm_backward("layer_norm_backward", x, w, mean, rstd, gy, gx, gw, gb);
  HWY_DYNAMIC_DISPATCH(run_norm_backward)(x, w, mean, rstd, gy, gx, gw, gb);
}

void rms_norm(const Tensor& x, const Tensor& w, Tensor& y, Tensor& rstd, double eps) {
  Tensor no_mean;
  check_norm("rms_norm", x, w, Tensor(), y, no_mean, rstd);
  HWY_DYNAMIC_DISPATCH(run_norm)(x, w, Tensor(), y, no_mean, rstd, eps);
}

void rms_norm_backward(const Tensor& x, const Tensor& w, const Tensor& rstd, const Tensor& gy, Tensor& gx, Tensor& gw) {
  Tensor no_gradient;
  check_norm_backward("rms_norm_backward", x, w, Tensor(), rstd, gy, gx, gw, no_gradient);
  HWY_DYNAMIC_DISPATCH(run_norm_backward)(x, w, Tensor(), rstd, gy, gx, gw, no_gradient);
}

}  // namespace mora::kernels::cpu
#endif
