// MoRA's C, Cᵀ, D and Dᵀ: each thread computes neighbouring elements of the result, 16 bytes of them where the sizes
// allow it, by adding what they are made of in the order of the processor's kernels.
#include "kernels/cuda/mora_operator.h"

#include "kernels/cuda/arrays.h"

namespace mora::kernels::cuda {
namespace {

// A side in the device's registers.
template <class T>
struct Side {
  using C = Compute<T>;
  OperatorSide::Form form;
  uint32_t wide, narrow, rank, slots, reach;
  Array<const C> cos, sin;

  // The group of position p, and the first position of group i.
  SIMT_DEVICE uint32_t group_of(uint32_t p) const {
    const uint32_t length = wide / rank, longer = wide % rank, in_longer = longer * (length + 1);
    return p < in_longer ? p / (length + 1) : longer + (p - in_longer) / length;
  }
  SIMT_DEVICE uint32_t group_begin(uint32_t i) const {
    const uint32_t longer = wide % rank;
    return i * (wide / rank) + (i < longer ? i : longer);
  }
};

template <int W, class T>
SIMT_DEVICE void add(const Array<const T>& from, int64_t at, Compute<T> (&sum)[W]) {
  const Pack<T, W> pack = from.template pack<W>(at);
  for (int i = 0; i < W; ++i) sum[i] += widen(pack.values[i]);
}

// Adds the element(s) j of chunk c turned by its angles, or by their opposites for sign = −1: `own` are j's places in
// `from`, `other` those of j's partners.
template <int W, class T>
SIMT_DEVICE void add_turned(const Side<T>& side, const Array<const T>& from, int64_t own, int64_t other, uint32_t chunk,
                            uint32_t j, int sign, Compute<T> (&sum)[W]) {
  using C = Compute<T>;
  const uint32_t half = side.rank / 2, angle = chunk * half + (j < half ? j : j - half);
  const C turn = C(j < half ? -sign : sign);
  const Pack<T, W> x = from.template pack<W>(own), partner = from.template pack<W>(other);
  const Pack<C, W> cos = side.cos.template pack<W>(angle), sin = side.sin.template pack<W>(angle);
  for (int i = 0; i < W; ++i)
    sum[i] += cos.values[i] * widen(x.values[i]) + turn * sin.values[i] * widen(partner.values[i]);
}

template <class T, int W>
struct OperatorGather {
  static constexpr int threads = 256;
  using C = Compute<T>;
  Side<T> side;
  Array<const T> wide;
  Array<T> narrow;

  SIMT_DEVICE void operator()() const {
    const auto packs = uint32_t(narrow.size / W), row = side.narrow / W;
    for (auto n = uint32_t(simt::global_index()); n < packs; n += uint32_t(simt::global_size())) {
      const uint32_t token = n / row, at = n % row * W;
      C sum[W] = {};
      collect(int64_t{token} * side.wide, at, sum);
      Pack<T, W> pack;
      for (int i = 0; i < W; ++i) pack.values[i] = mora::simt::narrow<T>(sum[i]);
      narrow.set_pack(int64_t{n} * W, pack);
    }
  }

  // first: of the token's wide row.
  SIMT_DEVICE void collect(int64_t first, uint32_t at, C (&sum)[W]) const {
    if (side.form == OperatorSide::grouped) {
      for (int i = 0; i < W; ++i)
        for (uint32_t p = side.group_begin(at + i); p < side.group_begin(at + i + 1); ++p)
          sum[i] += widen(wide[first + p]);
    } else if (side.form == OperatorSide::repeated) {
      for (uint32_t p = at; p < side.reach; p += side.narrow) add(wide, first + p % side.wide, sum);
    } else {
      const uint32_t j = at % side.rank, half = side.rank / 2;
      for (uint32_t p = at; p < side.reach; p += side.narrow) {
        const uint32_t other = j < half ? p + half : p - half;
        add_turned(side, wide, first + p % side.wide, first + other % side.wide, p / side.rank, j, 1, sum);
      }
    }
  }
};

template <class T, int W>
struct OperatorScatter {
  static constexpr int threads = 256;
  using C = Compute<T>;
  Side<T> side;
  Array<const T> narrow;
  Array<T> wide;
  bool accumulate;

  SIMT_DEVICE void operator()() const {
    const auto packs = uint32_t(wide.size / W), row = side.wide / W;
    for (auto n = uint32_t(simt::global_index()); n < packs; n += uint32_t(simt::global_size())) {
      const uint32_t token = n / row, at = n % row * W;
      C sum[W] = {};
      collect(int64_t{token} * side.narrow, at, sum);
      Pack<T, W> pack{};
      if (accumulate) pack = wide.template pack<W>(int64_t{n} * W);
      for (int i = 0; i < W; ++i)
        pack.values[i] = mora::simt::narrow<T>(accumulate ? widen(pack.values[i]) + sum[i] : sum[i]);
      wide.set_pack(int64_t{n} * W, pack);
    }
  }

  // first: of the token's narrow row.
  SIMT_DEVICE void collect(int64_t first, uint32_t at, C (&sum)[W]) const {
    if (side.form == OperatorSide::grouped) {
      for (int i = 0; i < W; ++i) sum[i] += widen(narrow[first + side.group_of(at + i)]);
    } else if (side.form == OperatorSide::repeated) {
      for (uint32_t p = at; p < side.reach; p += side.wide) add(narrow, first + p % side.narrow, sum);
    } else {
      const uint32_t half = side.rank / 2;
      for (uint32_t p = at; p < side.reach; p += side.wide) {
        const uint32_t own = p % side.narrow, j = p % side.rank, other = j < half ? own + half : own - half;
        add_turned(side, narrow, first + own, first + other, p / side.rank, j, -1, sum);
      }
    }
  }
};

template <class C>
struct OperatorAngles {
  static constexpr int threads = 256;
  Array<C> cos, sin;
  uint32_t rank;

  SIMT_DEVICE void operator()() const {
    const int64_t half = rank / 2;
    for (int64_t i = simt::global_index(); i < cos.size; i += simt::global_size()) {
      const double angle = double(i / half) * pow(10000.0, -2.0 * double(i % half) / double(rank));
      cos[i] = C(::cos(angle));
      sin[i] = C(::sin(angle));
    }
  }
};

template <class T>
Side<T> side_of(const OperatorSide& side) {
  using C = Compute<T>;
  return {side.form,
          side.wide,
          side.narrow(),
          side.rank,
          side.slots,
          side.reach,
          elements<const C>(side.cos),
          elements<const C>(side.sin)};
}

// Whether runs of the result are packs of W neighbours everywhere.
bool in_packs(const OperatorSide& side, const View& a, const View& b, uint32_t width) {
  const uint32_t run = side.form == OperatorSide::rotated ? side.rank / 2 : side.rank;
  return moves_in_packs(a) && moves_in_packs(b) && side.wide % width == 0 && run % width == 0 &&
         side.reach % width == 0;
}

// f(first token, tokens) for parts whose elements are counted by 31 bits.
template <class F>
void in_parts(const OperatorSide& side, int64_t tokens, F f) {
  const int64_t row = std::max(side.wide, side.narrow()), part = std::max<int64_t>(1, INT32_MAX / row / 8 * 8);
  for (int64_t first = 0; first < tokens; first += part) f(first, std::min(part, tokens - first));
}

template <class T>
Array<T> rows(const View& view, int64_t first, int64_t count, int64_t row) {
  return {static_cast<T*>(view.data) + first * row, count * row};
}

template <class Kernel>
void launch_over(int64_t elements, int width, const Kernel& kernel) {
  simt::launch(simt::blocks_for(elements, int64_t{Kernel::threads} * width), kernel);
}

}  // namespace

void launch_operator_angles(View cos, View sin, uint32_t rank) {
  const auto launch = [&](auto c) {
    using Kernel = OperatorAngles<decltype(c)>;
    simt::launch(simt::blocks_for(cos.size, Kernel::threads),
                 Kernel{elements<decltype(c)>(cos), elements<decltype(c)>(sin), rank});
  };
  cos.dtype == DType::f64 ? launch(double{}) : launch(float{});
}

void launch_operator_gather(const OperatorSide& side, int64_t tokens, View wide, View narrow) {
  visit_floating(narrow.dtype, [&](auto t) {
    using T = decltype(t);
    constexpr int W = pack_width<T>;
    in_parts(side, tokens, [&](int64_t first, int64_t count) {
      const auto from = rows<const T>(wide, first, count, side.wide);
      const auto to = rows<T>(narrow, first, count, side.narrow());
      if (in_packs(side, wide, narrow, W))
        launch_over(to.size, W, OperatorGather<T, W>{side_of<T>(side), from, to});
      else
        launch_over(to.size, 1, OperatorGather<T, 1>{side_of<T>(side), from, to});
    });
  });
}

void launch_operator_scatter(const OperatorSide& side, int64_t tokens, View narrow, View wide, bool accumulate) {
  visit_floating(wide.dtype, [&](auto t) {
    using T = decltype(t);
    constexpr int W = pack_width<T>;
    in_parts(side, tokens, [&](int64_t first, int64_t count) {
      const auto from = rows<const T>(narrow, first, count, side.narrow());
      const auto to = rows<T>(wide, first, count, side.wide);
      if (in_packs(side, wide, narrow, W))
        launch_over(to.size, W, OperatorScatter<T, W>{side_of<T>(side), from, to, accumulate});
      else
        launch_over(to.size, 1, OperatorScatter<T, 1>{side_of<T>(side), from, to, accumulate});
    });
  });
}

}  // namespace mora::kernels::cuda
