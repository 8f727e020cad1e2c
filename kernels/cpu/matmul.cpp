// y = op(a)·op(b) [+ y]: checks, and the choice of who multiplies.
#include "kernels/matmul.h"

#include <optional>

#include "kernels/copy.h"
#include "kernels/cpu/gemm.h"
#include "kernels/cpu/onednn.h"

namespace mora::kernels {
namespace {

std::optional<Bf16Products>& bf16_choice() {
  static std::optional<Bf16Products> choice;
  return choice;
}

}  // namespace

Bf16Products bf16_products() {
  auto& choice = bf16_choice();
  if (!choice) choice = cpu::measure_bf16_is_native() ? Bf16Products::native : Bf16Products::widened;
  return *choice;
}

void set_bf16_products(Bf16Products choice) { bf16_choice() = choice; }

namespace cpu {

bool has_bf16_pairs() {
#if defined(__x86_64__)
  return __builtin_cpu_supports("avx512bf16") != 0;
#else
  return false;
#endif
}

bool multiplies_bf16_pairs() { return has_bf16_pairs() && bf16_products() == Bf16Products::native; }

namespace {

Tensor widened(const Tensor& x) {
  Tensor y = Tensor::empty(x.shape(), DType::f32);
  kernels::copy(x, y);
  return y;
}

}  // namespace

void matmul(const Tensor& a, const Tensor& b, Tensor& y, const MatmulShape& shape) {
  const Gemm g = check_matmul(a, b, y, shape);
  if (g.m == 0 || g.n == 0) return;
  if (g.k == 0) {
    if (!g.accumulate) std::memset(y.mutable_raw(), 0, y.bytes());
    return;
  }
  if (g.input == DType::f64) return gemm_eigen(g, a.raw(), b.raw(), y.mutable_raw());
  const bool native = g.input == DType::bf16 && bf16_products() == Bf16Products::native;
  if (g.input != DType::f16 && is_skinny(g)) return gemm_skinny(g, a.raw(), b.raw(), y.mutable_raw());
  const bool in_blocks = g.transpose_a && g.output != DType::f32;  // over blocks of tokens, sums want f32
  if (g.input == DType::f32 || (native && !in_blocks)) return gemm_onednn(g, a.raw(), b.raw(), y.mutable_raw());

  const auto input = [&](const Tensor& x) { return native ? x : widened(x); };
  if (g.output == DType::f32) return matmul(input(a), input(b), y, shape);
  Tensor wide = g.accumulate ? widened(y) : Tensor::empty(y.shape(), DType::f32);
  matmul(input(a), input(b), wide, shape);
  kernels::copy(wide, y);
}

}  // namespace cpu
}  // namespace mora::kernels
