// Element-wise functions of two tensors.
#include "kernels/cuda/binary.h"

#include "kernels/cuda/number.h"
#include "kernels/cuda/walk.h"

namespace mora::kernels::cuda {
namespace {

// y_i = f(a_i, b_i). A thread takes a pack where the innermost rows are made of whole ones: of each operand, a pack or,
// where it is stretched, one number.
template <class T, class Y, class F>
struct Pairwise {
  static constexpr int threads = 256;
  static constexpr int width = 16 / std::max(sizeof(T), sizeof(Y));
  Array<const T> operands[2];
  Array<Y> y;
  WalkView<2> walk;  // over packs, if packed
  bool packed;
  F f;

  SIMT_DEVICE void operator()() const {
    for (int64_t i = simt::global_index(); i < walk.size; i += simt::global_size()) {
      const Offsets<2> offsets = offsets_of(walk, i);
      if (packed)
        apply<width>(offsets, i);
      else
        apply<1>(offsets, i);
    }
  }

  template <int N>
  SIMT_DEVICE void apply(const Offsets<2>& offsets, int64_t i) const {
    const Pack<T, N> a = read<N>(0, offsets.at[0]), b = read<N>(1, offsets.at[1]);
    Pack<Y, N> out;
    for (int k = 0; k < N; ++k) out.values[k] = converted<Y>(f(number(a.values[k]), number(b.values[k])));
    y.template set_pack<N>(i * N, out);
  }

  template <int N>
  SIMT_DEVICE Pack<T, N> read(int operand, int64_t at) const {
    if (walk.strides[operand][walk.rank - 1] != 0) return operands[operand].template pack<N>(at);
    Pack<T, N> pack;
    for (int k = 0; k < N; ++k) pack.values[k] = operands[operand][at];
    return pack;
  }
};

// The walk over packs of `width`; false where rows are not made of whole, aligned ones.
bool walk_packs(const View& a, const View& b, const View& y, int width, WalkView<2>& walk) {
  const int inner = walk.rank - 1;
  if (!moves_in_packs(a) || !moves_in_packs(b) || !moves_in_packs(y) || walk.shape[inner] % width != 0) return false;
  for (int k = 0; k < 2; ++k) {
    if (walk.strides[k][inner] > 1) return false;
    for (int d = 0; d < inner; ++d)
      if (walk.strides[k][d] % width != 0) return false;
  }
  walk.shape[inner] /= width;
  walk.size /= width;
  for (int k = 0; k < 2; ++k) walk.strides[k][inner] *= width;
  return true;
}

template <class T, class Y, class F>
void launch_pairwise(const View& a, const View& b, const View& y, WalkView<2> walk, const F& f) {
  using Kernel = Pairwise<T, Y, F>;
  const bool packed = walk_packs(a, b, y, Kernel::width, walk);
  simt::launch(simt::blocks_for(walk.size, Kernel::threads),
               Kernel{{elements<const T>(a), elements<const T>(b)}, elements<Y>(y), walk, packed, f});
}

// maximum and minimum of a NaN are NaN.
struct BinaryFunction {
  Binary f;

  template <class C>
  SIMT_DEVICE C operator()(C a, C b) const {
    switch (f) {
      case Binary::add: return sum(a, b);
      case Binary::sub: return difference(a, b);
      case Binary::mul: return product(a, b);
      case Binary::div: return std::is_integral_v<C> ? C(0) : a / b;  // the caller refuses integers
      case Binary::maximum: return a > b || a != a ? a : b;
      case Binary::minimum: return a < b || a != a ? a : b;
    }
    return a;
  }

 private:
  // Integers wrap.
  template <class C>
  struct Wrapping {
    using type = C;
  };
  template <class C>
  requires std::is_integral_v<C>
  struct Wrapping<C> {
    using type = std::make_unsigned_t<C>;
  };
  template <class C>
  static SIMT_DEVICE C sum(C a, C b) {
    using U = typename Wrapping<C>::type;
    return C(U(a) + U(b));
  }
  template <class C>
  static SIMT_DEVICE C difference(C a, C b) {
    using U = typename Wrapping<C>::type;
    return C(U(a) - U(b));
  }
  template <class C>
  static SIMT_DEVICE C product(C a, C b) {
    using U = typename Wrapping<C>::type;
    return C(U(a) * U(b));
  }
};

struct CompareFunction {
  Compare f;

  template <class C>
  SIMT_DEVICE bool operator()(C a, C b) const {
    switch (f) {
      case Compare::equal: return a == b;
      case Compare::less: return a < b;
      case Compare::less_equal: return a <= b;
      case Compare::greater: return a > b;
      case Compare::greater_equal: return a >= b;
    }
    return false;
  }
};

// y_i = condition_i ? a_i : b_i for elements as bits: only their size matters.
template <class T>
struct Where {
  static constexpr int threads = 256;
  Array<const bool> condition;
  Array<const T> a, b;
  Array<T> y;
  WalkView<3> walk;

  SIMT_DEVICE void operator()() const {
    for (int64_t i = simt::global_index(); i < walk.size; i += simt::global_size()) {
      const Offsets<3> offsets = offsets_of(walk, i);
      y[i] = condition[offsets.at[0]] ? a[offsets.at[1]] : b[offsets.at[2]];
    }
  }
};

// y += alpha·x
template <class X, class Y>
struct Axpy {
  static constexpr int threads = 256;
  static constexpr int width = 16 / std::max(sizeof(X), sizeof(Y));
  using C = std::conditional_t<std::is_same_v<X, double> || std::is_same_v<Y, double>, double, float>;
  Array<const X> x;
  Array<Y> y;
  int64_t packs;
  double alpha;

  SIMT_DEVICE void operator()() const {
    for (int64_t i = simt::global_index(); i < packs; i += simt::global_size()) add<width>(i * width);
    for (int64_t i = packs * width + simt::global_index(); i < y.size; i += simt::global_size()) add<1>(i);
  }

  template <int N>
  SIMT_DEVICE void add(int64_t i) const {
    const Pack<X, N> from = x.template pack<N>(i);
    Pack<Y, N> to = y.template pack<N>(i);
    for (int k = 0; k < N; ++k)
      to.values[k] = converted<Y>(C(alpha) * C(widen(from.values[k])) + C(widen(to.values[k])));
    y.template set_pack<N>(i, to);
  }
};

}  // namespace

void launch_binary(View a, View b, View y, const WalkView<2>& walk, Binary f) {
  const auto launch = [&](auto t) {
    using T = decltype(t);
    launch_pairwise<T, T>(a, b, y, walk, BinaryFunction{f});
  };
  if (y.dtype == DType::i64) return launch(int64_t{});
  if (y.dtype == DType::i32) return launch(int32_t{});
  visit_floating(y.dtype, launch);
}

void launch_compare(View a, View b, View y, const WalkView<2>& walk, Compare f) {
  visit_dtype(a.dtype, [&](auto t) { launch_pairwise<decltype(t), bool>(a, b, y, walk, CompareFunction{f}); });
}

void launch_where(View condition, View a, View b, View y, const WalkView<3>& walk) {
  const auto launch = [&](auto bits) {
    using T = decltype(bits);
    simt::launch(
        simt::blocks_for(walk.size, Where<T>::threads),
        Where<T>{elements<const bool>(condition), elements<const T>(a), elements<const T>(b), elements<T>(y), walk});
  };
  switch (size_of(y.dtype)) {
    case 1: return launch(uint8_t{});
    case 2: return launch(uint16_t{});
    case 4: return launch(uint32_t{});
    default: return launch(uint64_t{});
  }
}

void launch_axpy(View x, View y, double alpha) {
  visit_floating(x.dtype, [&](auto from) {
    visit_floating(y.dtype, [&](auto to) {
      using X = decltype(from);
      using Y = decltype(to);
      using Kernel = Axpy<X, Y>;
      const int64_t packs = moves_in_packs(x) && moves_in_packs(y) ? y.size / Kernel::width : 0;
      simt::launch(simt::blocks_for(y.size, Kernel::threads * Kernel::width),
                   Kernel{elements<const X>(x), elements<Y>(y), packs, alpha});
    });
  });
}

}  // namespace mora::kernels::cuda
