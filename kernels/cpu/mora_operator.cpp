// MoRA's C, Cᵀ, D and Dᵀ, a token at a time in f32 (f64 for f64). All but groups are copies and sums of contiguous
// runs; a row is read once and written once, the rest happens in the first cache.
#include "kernels/mora_operator.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/mora_operator.cpp"
#include "kernels/cpu/foreach_target.h"
#include "kernels/cpu/operator_rows.h"
#include "kernels/cpu/simd.h"

#include "kernels/cpu/elements.h"
#include "kernels/cpu/scratch.h"
#include "kernels/product_checks.h"

#ifndef MORA_KERNELS_CPU_MORA_OPERATOR_ONCE
#define MORA_KERNELS_CPU_MORA_OPERATOR_ONCE
namespace mora::kernels::cpu {
namespace {

enum class Step { compress, compress_adjoint, decompress, decompress_adjoint };

}  // namespace
}  // namespace mora::kernels::cpu
#endif

HWY_BEFORE_NAMESPACE();
namespace mora::kernels::cpu::HWY_NAMESPACE {
namespace {

template <class T>
void apply(const Tensor& from, Tensor& to, const MoraOperator& op, Step step, bool accumulate) {
  using C = Compute<T>;
  const auto shared = side_of<C>(op, step == Step::compress || step == Step::compress_adjoint);
  const Side<C>& side = *shared;
  const bool gathers = step == Step::compress || step == Step::decompress_adjoint;
  const int64_t narrow = side.slots * side.rank;
  const int64_t from_row = gathers ? side.wide : narrow;
  const int64_t to_row = gathers ? narrow : side.wide;
  const T* x = from.data<T>();
  T* y = to.mutable_data<T>();
  parallel_for(from.dim(0), row_grain(side.wide), [&](int64_t begin, int64_t end) HWY_ATTR {
    const Scratch<C> in(from_row), out(to_row), chunk(side.rank);
    for (int64_t n = begin; n < end; ++n) {
      const C* row = read_row(x + n * from_row, from_row, in.data());
      T* target = y + n * to_row;
      if (!gathers) {
        scatter_row(side, row, target, accumulate, out.data(), chunk.data());
      } else if constexpr (std::is_same_v<T, C>) {
        gather(side, row, target, chunk.data());
      } else {
        gather(side, row, out.data(), chunk.data());
        map(
            Tag<T>(), to_row, [](auto v) HWY_ATTR { return v; }, target, static_cast<const C*>(out.data()));
      }
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
