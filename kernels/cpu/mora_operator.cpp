// MoRA's C, Cᵀ, D and Dᵀ, a token at a time in f32 (f64 for f64). All but groups are copies and sums of contiguous
// runs; a row is read once and written once, the rest happens in the first cache.
#include "kernels/mora_operator.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/mora_operator.cpp"
#include "kernels/cpu/foreach_target.h"
#include "kernels/cpu/simd.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <vector>

#include "kernels/cpu/elements.h"
#include "kernels/cpu/scratch.h"
#include "kernels/product_checks.h"

#ifndef MORA_KERNELS_CPU_MORA_OPERATOR_ONCE
#define MORA_KERNELS_CPU_MORA_OPERATOR_ONCE
namespace mora::kernels::cpu {
namespace {

enum class Step { compress, compress_adjoint, decompress, decompress_adjoint };

// cos and sin of c·10000^(−2j/r̂), (chunks, r̂/2) each.
template <class C>
struct Angles {
  std::vector<C> cos, sin;
};

template <class C>
std::shared_ptr<const Angles<C>> angles(int64_t chunks, int64_t rank) {
  static std::mutex mutex;
  static std::map<std::pair<int64_t, int64_t>, std::shared_ptr<const Angles<C>>> cache;
  std::lock_guard lock(mutex);
  auto& entry = cache[{chunks, rank}];
  if (entry) return entry;
  auto made = std::make_shared<Angles<C>>();
  for (int64_t c = 0; c < chunks; ++c)
    for (int64_t j = 0; j < rank / 2; ++j) {
      const double angle = double(c) * std::pow(10000.0, -2.0 * double(j) / double(rank));
      made->cos.push_back(C(std::cos(angle)));
      made->sin.push_back(C(std::sin(angle)));
    }
  return entry = std::move(made);
}

// wide[wide + i] belongs to narrow[narrow + i], i < length. Wide is a token's k inputs or d outputs.
struct Run {
  int64_t wide, narrow, length;
};

// wide[w + i] of each w belongs to narrow[narrow + i], i < length: summed in registers, stored once.
struct Stack {
  int64_t narrow, length;
  std::vector<int64_t> wide;
};

// Positions p in [begin, end) of a row of `wide` elements repeated, against position p mod `narrow` of the other side.
std::vector<Run> runs(int64_t begin, int64_t end, int64_t wide, int64_t narrow) {
  std::vector<Run> result;
  for (int64_t p = begin; p < end; p += result.back().length)
    result.push_back({p % wide, p % narrow, std::min({end - p, wide - p % wide, narrow - p % narrow})});
  return result;
}

// The same, cut where runs begin or end, so that no two stacks share an element of narrow.
std::vector<Stack> stacks(const std::vector<Run>& runs) {
  std::set<int64_t> cuts;
  for (const Run& run : runs) cuts.insert({run.narrow, run.narrow + run.length});
  std::vector<Stack> result;
  for (auto cut = cuts.begin(); std::next(cut) != cuts.end(); ++cut) {
    Stack stack{*cut, *std::next(cut) - *cut, {}};
    for (const Run& run : runs)
      if (run.narrow <= *cut && *cut < run.narrow + run.length) stack.wide.push_back(run.wide + *cut - run.narrow);
    if (!stack.wide.empty()) result.push_back(std::move(stack));
  }
  return result;
}

// One side of an operator: C between x (k) and s, or D between z and y (d).
template <class C>
struct Side {
  bool grouped = false;
  int64_t wide = 0, rank = 0;
  int64_t slots = 1;                      // rows of r̂ of the narrow side
  std::vector<Stack> direct;              // neither grouped nor rotated
  std::vector<std::vector<Run>> rotated;  // the runs of each rotated chunk
  std::shared_ptr<const Angles<C>> table;
  bool covered = false;  // every element of the narrow side has one on the wide side
};

template <class C>
Side<C> side_of(const MoraOperator& op, bool input) {
  using enum OperatorKind;
  Side<C> side;
  side.wide = input ? op.in : op.out;
  side.rank = op.rank;
  side.slots = op.chunks();
  const int64_t chunks = (op.in + op.rank - 1) / op.rank;
  const int64_t narrow = side.slots * op.rank;
  if (op.kind == group || op.kind == (input ? group_sharing : sharing_group)) {
    side.grouped = true;
  } else if (op.kind == truncation) {
    side.direct = stacks({{0, 0, std::min(side.wide, op.rank)}});
  } else if (input && (op.kind == rotation || op.kind == rotation_full)) {
    const int64_t read = op.kind == rotation ? side.slots : chunks;
    for (int64_t c = 0; c < read; ++c) side.rotated.push_back(runs(c * op.rank, (c + 1) * op.rank, op.in, op.rank));
    side.table = angles<C>(read, op.rank);
  } else if (input) {
    side.direct = stacks(runs(0, op.kind == decouple ? narrow : chunks * op.rank, op.in, narrow));
  } else {
    side.direct = stacks(runs(0, op.out, op.out, narrow));
  }
  int64_t written = side.rotated.empty() ? 0 : narrow;
  for (const Stack& s : side.direct) written += s.length;
  side.covered = side.grouped || written == narrow;
  return side;
}

}  // namespace
}  // namespace mora::kernels::cpu
#endif

HWY_BEFORE_NAMESPACE();
namespace mora::kernels::cpu::HWY_NAMESPACE {
namespace {

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
    const C *cos = side.table->cos.data() + int64_t(c) * half, *sin = side.table->sin.data() + int64_t(c) * half;
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
    const C *cos = side.table->cos.data() + int64_t(c) * half, *sin = side.table->sin.data() + int64_t(c) * half;
    if (parts.size() == 1) {
      rotate<true>(from, cos, sin, half, C(-1), wide + parts[0].wide);
      continue;
    }
    rotate<false>(from, cos, sin, half, C(-1), chunk);
    for (const Run& run : parts) add(chunk + run.narrow, wide + run.wide, run.length);
  }
}

template <class T>
void apply(const Tensor& from, Tensor& to, const MoraOperator& op, Step step, bool accumulate) {
  using C = Compute<T>;
  const Side<C> side = side_of<C>(op, step == Step::compress || step == Step::compress_adjoint);
  const bool gathers = step == Step::compress || step == Step::decompress_adjoint;
  const int64_t narrow = side.slots * side.rank;
  const int64_t from_row = gathers ? side.wide : narrow;
  const int64_t to_row = gathers ? narrow : side.wide;
  const T* x = from.data<T>();
  T* y = to.mutable_data<T>();
  parallel_for(from.dim(0), row_grain(side.wide), [&](int64_t begin, int64_t end) HWY_ATTR {
    const Tag<T> d;
    const Scratch<C> in(from_row), out(to_row), chunk(side.rank);
    for (int64_t n = begin; n < end; ++n) {
      const C* row = in.data();
      if constexpr (std::is_same_v<T, C>)
        row = x + n * from_row;
      else
        map(
            d, from_row, [](auto v) HWY_ATTR { return v; }, in.data(), x + n * from_row);
      T* target = y + n * to_row;
      C* result = out.data();
      if constexpr (std::is_same_v<T, C>)
        result = target;
      else if (accumulate)
        map(
            d, to_row, [](auto v) HWY_ATTR { return v; }, result, static_cast<const T*>(target));
      if (gathers) {
        gather(side, row, result, chunk.data());
      } else {
        if (!accumulate) std::fill_n(result, to_row, C(0));
        scatter(side, row, result, chunk.data());
      }
      if constexpr (!std::is_same_v<T, C>)
        map(
            d, to_row, [](auto v) HWY_ATTR { return v; }, target, static_cast<const C*>(result));
    }
  });
}

void apply_target(const Tensor& from, Tensor& to, const MoraOperator& op, Step step, bool accumulate) {
  visit_floating(from.dtype(), "mora", [&](auto t) { apply<decltype(t)>(from, to, op, step, accumulate); });
}

}  // namespace
}  // namespace mora::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mora::kernels::cpu {
namespace {

HWY_EXPORT(apply_target);

void run(std::string_view name, const Tensor& from, Tensor& to, const MoraOperator& op, Step step,
         bool accumulate = false) {
  const bool from_narrow = step == Step::compress_adjoint || step == Step::decompress;
  const int64_t width = step == Step::compress || step == Step::compress_adjoint ? op.in : op.out;
  check_operator(name, from_narrow ? to : from, from_narrow ? from : to, width, op);
  HWY_DYNAMIC_DISPATCH(apply_target)(from, to, op, step, accumulate);
}

}  // namespace

void mora_compress(const Tensor& x, Tensor& s, const MoraOperator& op) {
  run("mora_compress", x, s, op, Step::compress);
}
void mora_compress_adjoint(const Tensor& gs, Tensor& gx, const MoraOperator& op, bool accumulate) {
  run("mora_compress_adjoint", gs, gx, op, Step::compress_adjoint, accumulate);
}
void mora_decompress(const Tensor& z, Tensor& y, const MoraOperator& op, bool accumulate) {
  run("mora_decompress", z, y, op, Step::decompress, accumulate);
}
void mora_decompress_adjoint(const Tensor& gy, Tensor& gz, const MoraOperator& op) {
  run("mora_decompress_adjoint", gy, gz, op, Step::decompress_adjoint);
}

}  // namespace mora::kernels::cpu
#endif
