// A token's way through one side of a MoRA operator. Included after kernels/cpu/foreach_target.h, once for each
// instruction set.
#if defined(MORA_KERNELS_CPU_OPERATOR_ROWS_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef MORA_KERNELS_CPU_OPERATOR_ROWS_H_
#undef MORA_KERNELS_CPU_OPERATOR_ROWS_H_
#else
#define MORA_KERNELS_CPU_OPERATOR_ROWS_H_
#endif

#include <algorithm>

#include "kernels/cpu/operator_side.h"
#include "kernels/cpu/simd.h"

HWY_BEFORE_NAMESPACE();
namespace mora::kernels::cpu::HWY_NAMESPACE {

// f(i, begin, end): group i of r̂ is [begin, end) of `wide`; the first (wide mod r̂) groups are longer by one.
template <class F>
HWY_INLINE void for_groups(int64_t wide, int64_t rank, F f) {
  const int64_t length = wide / rank, longer = wide % rank;
  int64_t begin = 0;
  for (int64_t i = 0; i < rank; ++i) {
    const int64_t end = begin + length + (i < longer ? 1 : 0);
    f(i, begin, end);
    begin = end;
  }
}

// y = [y +] x turned by the angles, or by their opposites.
template <bool ADD, class C>
HWY_INLINE void rotate(const C* x, const C* cos, const C* sin, int64_t half, C sign, C* y) {
  const hn::ScalableTag<C> d;
  const auto vsign = hn::Set(d, sign);
  for_each_vector(d, half, [=](int64_t j, auto... count) HWY_ATTR {
    const auto c = load(d, cos + j, count...), s = hn::Mul(load(d, sin + j, count...), vsign);
    const auto u = load(d, x + j, count...), v = load(d, x + half + j, count...);
    auto first = hn::NegMulAdd(s, v, hn::Mul(c, u)), second = hn::MulAdd(s, u, hn::Mul(c, v));
    if constexpr (ADD) {
      first = hn::Add(load(d, y + j, count...), first);
      second = hn::Add(load(d, y + half + j, count...), second);
    }
    store(first, d, y + j, count...);
    store(second, d, y + half + j, count...);
  });
}

template <class C>
HWY_INLINE void add(const C* from, C* to, int64_t n) {
  const hn::ScalableTag<C> d;
  map(
      d, n, [](auto a, auto b) HWY_ATTR { return hn::Add(a, b); }, to, static_cast<const C*>(to), from);
}

// narrow = the sums over the wide side: C, and Dᵀ. `chunk` (r̂) is scratch.
template <class C>
void gather(const Side<C>& side, const C* wide, C* narrow, C* chunk) {
  const hn::ScalableTag<C> d;
  if (side.grouped) {
    for_groups(side.wide, side.rank, [&](int64_t i, int64_t begin, int64_t end) {
      C sum = 0;
      for (int64_t j = begin; j < end; ++j) sum += wide[j];
      narrow[i] = sum;
    });
    return;
  }
  if (!side.covered) std::fill_n(narrow, side.slots * side.rank, C(0));
  for (const Stack& stack : side.direct) {
    const int64_t *begin = stack.wide.data(), *end = begin + stack.wide.size();
    for_each_vector(d, stack.length, [=, to = narrow + stack.narrow](int64_t j, auto... count) HWY_ATTR {
      auto sum = load(d, wide + *begin + j, count...);
      for (const int64_t* w = begin + 1; w < end; ++w) sum = hn::Add(sum, load(d, wide + *w + j, count...));
      store(sum, d, to + j, count...);
    });
  }
  const int64_t half = side.rank / 2;
  for (size_t c = 0; c < side.rotated.size(); ++c) {
    const auto& parts = side.rotated[c];
    const C* from = parts.size() == 1 ? wide + parts[0].wide : chunk;
    if (parts.size() > 1)
      for (const Run& run : parts) std::copy_n(wide + run.wide, run.length, chunk + run.narrow);
    const C *cos = side.cos.data() + int64_t(c) * half, *sin = side.sin.data() + int64_t(c) * half;
    C* to = narrow + int64_t(c) % side.slots * side.rank;
    if (int64_t(c) < side.slots)
      rotate<false>(from, cos, sin, half, C(1), to);
    else
      rotate<true>(from, cos, sin, half, C(1), to);
  }
}

// wide += what each of its elements gets back from the narrow side: Cᵀ, and D.
template <class C>
void scatter(const Side<C>& side, const C* narrow, C* wide, C* chunk) {
  const hn::ScalableTag<C> d;
  if (side.grouped) {
    for_groups(side.wide, side.rank, [&](int64_t i, int64_t begin, int64_t end) {
      for (int64_t j = begin; j < end; ++j) wide[j] += narrow[i];
    });
    return;
  }
  for (const Stack& stack : side.direct) {
    const int64_t *begin = stack.wide.data(), *end = begin + stack.wide.size();
    for_each_vector(d, stack.length, [=, from = narrow + stack.narrow](int64_t j, auto... count) HWY_ATTR {
      const auto v = load(d, from + j, count...);
      for (const int64_t* w = begin; w < end; ++w) {
        C* to = wide + *w + j;
        store(hn::Add(load(d, to, count...), v), d, to, count...);
      }
    });
  }
  const int64_t half = side.rank / 2;
  for (size_t c = 0; c < side.rotated.size(); ++c) {
    const auto& parts = side.rotated[c];
    const C* from = narrow + int64_t(c) % side.slots * side.rank;
    const C *cos = side.cos.data() + int64_t(c) * half, *sin = side.sin.data() + int64_t(c) * half;
    if (parts.size() == 1) {
      rotate<true>(from, cos, sin, half, C(-1), wide + parts[0].wide);
      continue;
    }
    rotate<false>(from, cos, sin, half, C(-1), chunk);
    for (const Run& run : parts) add(chunk + run.narrow, wide + run.wide, run.length);
  }
}

// n elements as they are computed with: themselves, or widened into `room`.
template <class C, class T>
HWY_INLINE const C* read_row(const T* row, int64_t n, C* room) {
  if constexpr (std::is_same_v<T, C>) {
    return row;
  } else {
    map(
        Tag<T>(), n, [](auto v) HWY_ATTR { return v; }, room, row);
    return room;
  }
}

// wide [+]= scatter(narrow). `room` (wide) and `chunk` (r̂) are scratch.
template <class C, class T>
void scatter_row(const Side<C>& side, const C* narrow, T* wide, bool accumulate, C* room, C* chunk) {
  if (!accumulate) std::fill_n(wide, side.wide, T(C(0)));
  if constexpr (std::is_same_v<T, C>) {
    scatter(side, narrow, wide, chunk);
  } else {
    read_row<C>(static_cast<const T*>(wide), side.wide, room);
    scatter(side, narrow, room, chunk);
    map(
        Tag<T>(), side.wide, [](auto v) HWY_ATTR { return v; }, wide, static_cast<const C*>(room));
  }
}

}  // namespace mora::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
