// Layer norm and RMS norm. The derivatives: kernels/cpu/norm.cpp.
#include "kernels/cuda/norm.h"

#include "kernels/cuda/rows.h"

namespace mora::kernels::cuda {
namespace {

// A vector of the rows' dtype, or of the arithmetic's.
template <class T>
struct Weights {
  Array<const T> narrow;
  Array<const Compute<T>> wide;

  SIMT_DEVICE bool present() const { return narrow.data || wide.data; }
  // Columns i … i + N − 1. The rows' packs are the vector's only where each row begins with a whole one.
  template <int N>
  SIMT_DEVICE void at(int64_t i, Compute<T> (&to)[N]) const {
    if (i % N != 0) {
      for (int k = 0; k < N; ++k) to[k] = wide.data ? wide[i + k] : widen(narrow[i + k]);
    } else if (wide.data) {
      const Pack<Compute<T>, N> pack = wide.template pack<N>(i);
      for (int k = 0; k < N; ++k) to[k] = pack.values[k];
    } else {
      read(narrow, i, to);
    }
  }
};

template <class T>
Weights<T> weights(const View& view) {
  if (view.dtype == dtype_of<Compute<T>>) return {{}, elements<const Compute<T>>(view)};
  return {elements<const T>(view), {}};
}

template <class T, int team>
struct Norm {
  static constexpr int threads = row_threads;
  using C = Compute<T>;
  Array<const T> x;
  Weights<T> w, b;
  Array<T> y;
  Array<C> mean, rstd;
  int64_t length;
  C eps;
  bool packed;

  SIMT_DEVICE void operator()() const {
    for (int64_t row = Team<team>::index(); row < rstd.size; row += Team<team>::count()) normalize(row);
  }

  SIMT_DEVICE void normalize(int64_t row) const {
    const int64_t begin = row * length;
    const C share = C(1) / C(length);
    C mu = 0, squares = 0;
    if (mean.data) {
      for_each_of_row<T, team>(begin, length, packed, [&](int64_t i, auto width) {
        C v[width.value];
        read(x, i, v);
        for (int k = 0; k < width.value; ++k) mu += v[k];
      });
      mu = Team<team>::sum(mu) * share;
    }
    for_each_of_row<T, team>(begin, length, packed, [&](int64_t i, auto width) {
      C v[width.value];
      read(x, i, v);
      for (int k = 0; k < width.value; ++k) squares += (v[k] - mu) * (v[k] - mu);
    });
    const C scale = C(1) / sqrt(Team<team>::sum(squares) * share + eps);
    for_each_of_row<T, team>(begin, length, packed, [&](int64_t i, auto width) {
      C v[width.value], vw[width.value], vb[width.value] = {};
      read(x, i, v);
      w.at(i - begin, vw);
      if (b.present()) b.at(i - begin, vb);
      for (int k = 0; k < width.value; ++k) v[k] = (v[k] - mu) * scale * vw[k] + vb[k];
      write(y, i, v);
    });
    if (Team<team>::rank() != 0) return;
    rstd[row] = scale;
    if (mean.data) mean[row] = mu;
  }
};

template <class T, int team>
struct NormBackward {
  static constexpr int threads = row_threads;
  using C = Compute<T>;
  Array<const T> x, gy;
  Weights<T> w;
  Array<const C> mean, rstd;
  Array<T> gx;
  int64_t length;
  bool packed;

  SIMT_DEVICE void operator()() const {
    for (int64_t row = Team<team>::index(); row < rstd.size; row += Team<team>::count()) differentiate(row);
  }

  SIMT_DEVICE void differentiate(int64_t row) const {
    const int64_t begin = row * length;
    const C mu = mean.data ? mean[row] : C(0), scale = rstd[row], share = C(1) / C(length);
    C sum = 0, product = 0;
    for_each_of_row<T, team>(begin, length, packed, [&](int64_t i, auto width) {
      C v[width.value], g[width.value], vw[width.value];
      read(x, i, v);
      read(gy, i, g);
      w.at(i - begin, vw);
      for (int k = 0; k < width.value; ++k) {
        sum += g[k] * vw[k];
        product += g[k] * vw[k] * ((v[k] - mu) * scale);
      }
    });
    sum = mean.data ? Team<team>::sum(sum) * share : C(0);
    product = Team<team>::sum(product) * share;
    for_each_of_row<T, team>(begin, length, packed, [&](int64_t i, auto width) {
      C v[width.value], g[width.value], vw[width.value];
      read(x, i, v);
      read(gy, i, g);
      w.at(i - begin, vw);
      for (int k = 0; k < width.value; ++k) v[k] = scale * (g[k] * vw[k] - sum - (v[k] - mu) * scale * product);
      write(gx, i, v);
    });
  }
};

// Σ gy·x̂ and Σ gy over the rows of a part. A thread has as many columns as 16 bytes hold and every eighth row; the
// block's eight warps are added in their order.
template <class T>
struct NormPartSums {
  static constexpr int threads = row_threads, warps = threads / simt::warp_size, width = pack_width<T>,
                       columns = simt::warp_size * width;
  using C = Compute<T>;
  Array<const T> x, gy;
  Array<const C> mean, rstd;
  Array<C> parts_w, parts_b;
  int64_t length, rows_of_part;
  bool packed;  // each row begins with a whole pack

  SIMT_DEVICE void operator()() const {
    const int64_t column = int64_t{simt::block_index().x} * columns + simt::lane() * width;
    const int64_t part = simt::block_index().y, first = part * rows_of_part;
    const int64_t end = first + rows_of_part < rstd.size ? first + rows_of_part : rstd.size;
    C sum_w[width] = {}, sum_b[width] = {};
    for (int64_t row = first + simt::warp(); row < end; row += warps) {
      if (packed && column + width <= length) {
        add<width>(row, column, sum_w, sum_b);
      } else {
        for (int k = 0; k < width && column + k < length; ++k) {
          C one_w[1] = {sum_w[k]}, one_b[1] = {sum_b[k]};
          add<1>(row, column + k, one_w, one_b);
          sum_w[k] = one_w[0];
          sum_b[k] = one_b[0];
        }
      }
    }
    if (parts_w.data) combine(sum_w, parts_w);
    if (parts_b.data) combine(sum_b, parts_b);
  }

  template <int N>
  SIMT_DEVICE void add(int64_t row, int64_t column, C (&sum_w)[N], C (&sum_b)[N]) const {
    C g[N];
    read(gy, row * length + column, g);
    for (int k = 0; k < N; ++k) sum_b[k] += g[k];
    if (!parts_w.data) return;
    const C mu = mean.data ? mean[row] : C(0), scale = rstd[row];
    C v[N];
    read(x, row * length + column, v);
    for (int k = 0; k < N; ++k) sum_w[k] += g[k] * ((v[k] - mu) * scale);
  }

  SIMT_DEVICE void combine(const C (&sums)[width], const Array<C>& parts) const {
    const auto of_warps = simt::shared<C, warps * columns, NormPartSums>();
    for (int k = 0; k < width; ++k) of_warps[simt::warp() * columns + k * simt::warp_size + simt::lane()] = sums[k];
    simt::barrier();
    const int mine = simt::thread_index();
    const int64_t column =
        int64_t{simt::block_index().x} * columns + mine % simt::warp_size * width + mine / simt::warp_size;
    if (mine < columns && column < length) {
      C sum = of_warps[mine];
      for (int i = 1; i < warps; ++i) sum += C(of_warps[i * columns + mine]);
      parts[int64_t{simt::block_index().y} * length + column] = sum;
    }
    simt::barrier();  // the next call writes them again
  }
};

// The sums of all parts: a lane has a column, a warp every eighth part.
template <class C, class To>
struct NormSums {
  static constexpr int threads = row_threads, warps = threads / simt::warp_size;
  Array<const C> parts;
  Array<To> to;

  SIMT_DEVICE void operator()() const {
    const int64_t column = int64_t{simt::block_index().x} * simt::warp_size + simt::lane();
    const bool inside = column < to.size;
    C sum = 0;
    for (int64_t i = simt::warp() * to.size; inside && i < parts.size; i += warps * to.size) sum += parts[i + column];
    const auto of_warps = simt::shared<C, threads, NormSums>();
    of_warps[simt::thread_index()] = sum;
    simt::barrier();
    if (simt::warp() != 0 || !inside) return;
    for (int i = 1; i < warps; ++i) sum += C(of_warps[i * simt::warp_size + simt::lane()]);
    to[column] = narrow<To>(Compute<To>(sum));
  }
};

template <class C>
void launch_norm_sums(const View& parts, const View& to) {
  if (!to.data) return;
  visit_floating(to.dtype, [&](auto t) {
    using To = decltype(t);
    if constexpr (sizeof(To) <= sizeof(C))
      simt::launch({int((to.size + simt::warp_size - 1) / simt::warp_size)},
                   NormSums<C, To>{elements<const C>(parts), elements<To>(to)});
  });
}

}  // namespace

void launch_norm(View x, View w, View b, View y, View mean, View rstd, double eps) {
  visit_floating(x.dtype, [&](auto t) {
    using T = decltype(t);
    using C = Compute<T>;
    launch_rows(rstd.size, w.size, [&](auto team) {
      return Norm<T, team.value>{elements<const T>(x),  weights<T>(w),     weights<T>(b), elements<T>(y),
                                 elements<C>(mean),     elements<C>(rstd), w.size,        C(eps),
                                 all_packed(x, w, b, y)};
    });
  });
}

void launch_norm_backward(View x, View w, View mean, View rstd, View gy, View gx) {
  visit_floating(x.dtype, [&](auto t) {
    using T = decltype(t);
    using C = Compute<T>;
    launch_rows(rstd.size, w.size, [&](auto team) {
      return NormBackward<T, team.value>{
          elements<const T>(x),    elements<const T>(gy), weights<T>(w), elements<const C>(mean),
          elements<const C>(rstd), elements<T>(gx),       w.size,        all_packed(x, w, gy, gx)};
    });
  });
}

void launch_norm_weight_gradients(View x, View mean, View rstd, View gy, View gw, View gb, View parts_w, View parts_b) {
  visit_floating(x.dtype, [&](auto t) {
    using T = decltype(t);
    using C = Compute<T>;
    using Kernel = NormPartSums<T>;
    const int64_t length = gw.data ? gw.size : gb.size, rows = rstd.size;
    const Kernel kernel{elements<const T>(x),
                        elements<const T>(gy),
                        elements<const C>(mean),
                        elements<const C>(rstd),
                        elements<C>(parts_w),
                        elements<C>(parts_b),
                        length,
                        norm_rows_of_part(rows),
                        length % Kernel::width == 0 && all_packed(x, gy)};
    simt::launch({int((length + Kernel::columns - 1) / Kernel::columns), int(norm_parts(rows))}, kernel);
    launch_norm_sums<C>(parts_w, gw);
    launch_norm_sums<C>(parts_b, gb);
  });
}

}  // namespace mora::kernels::cuda
