#include "mora/adapters/adalora.h"

#include <array>

#include "autograd/ops/arithmetic.h"
#include "autograd/ops/elementary.h"
#include "autograd/ops/matmul.h"
#include "autograd/ops/reduce.h"
#include "autograd/ops/shape.h"
#include "kernels/copy.h"

namespace mora {
namespace {

Tensor gaussian(const Shape& shape, const RandomStream& stream, uint64_t first) {
  return normal_tensor(shape, 0.02, stream, first);
}

Tensor initial(const AdapterSpec& spec, int64_t in, int64_t out, uint64_t seed, uint64_t index, bool a) {
  require<ConfigError>(spec.rank >= 1, "adapter.rank: {} is below 1", spec.rank);
  const RandomStream stream({.seed = seed, .layer = index, .purpose = Purpose::init});
  return a ? gaussian({spec.rank, in}, stream, 0) : gaussian({out, spec.rank}, stream, uint64_t(spec.rank * in));
}

// ‖g − I‖ of a square g. A single row of norm 1 is at distance 0, where the root has no derivative: `least` makes it 0.
Tensor distance_to_identity(const Tensor& g) {
  const int64_t n = g.dim(0);
  Tensor identity = Tensor::zeros({n, n}, g.dtype(), g.device()), diagonal = identity.alias({n}, {n + 1}, 0);
  kernels::copy(full_like(g, 1, {n}), diagonal);
  constexpr double least = 1e-30;  // below half a bit of any other sum
  return sqrt(sum(square(g - identity)) + least);
}

}  // namespace

AdaLoRA::AdaLoRA(const AdapterSpec& spec, int64_t in, int64_t out, uint64_t seed, uint64_t index)
    : AdaLoRA(spec, initial(spec, in, out, seed, index, true), initial(spec, in, out, seed, index, false),
              Tensor::zeros({spec.rank, 1}), index) {}

AdaLoRA::AdaLoRA(const AdapterSpec& spec, Tensor a, Tensor b, const Tensor& e, uint64_t index)
    : LoRA(spec, std::move(a), std::move(b), index), e_(leaf(e)) {
  require<ShapeError>(e.shape() == Shape({rank(), 1}), "AdaLoRA: E {} for a rank of {}", e.shape(), rank());
}

double AdaLoRA::scaling() const { return spec().alpha / (double(spec().rank) + 1e-5); }

void AdaLoRA::resize(std::span<const int64_t> kept, int64_t added, const RandomStream& stream) {
  const int64_t in = a().dim(1), out = b().dim(0);
  Tensor old_a = select_components(a(), 0, kept, 0), old_b = select_components(b(), 1, kept, 0);
  const Device device = e_.device();
  const Tensor new_a = gaussian({added, in}, stream, 0).to(device),
               new_b = gaussian({out, added}, stream, uint64_t(added * in)).to(device);
  e_ = leaf(select_components(e_, 0, kept, added));
  if (added == 0) return replace(old_a, old_b);
  const NoGrad no_grad;
  replace(concat(std::array{old_a, new_a}, 0), concat(std::array{old_b, new_b}, 1));
}

Tensor AdaLoRA::factor_a() const { return a() * e_; }

Tensor AdaLoRA::orthogonality() const {
  return distance_to_identity(matmul(a(), a(), false, true)) + distance_to_identity(matmul(b(), b(), true, false));
}

}  // namespace mora
