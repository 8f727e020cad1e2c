// What the functions of kernels/optimizer.h do on each device. (Their tensors come in lists, where a kernel's table
// does not look for the device.)
#pragma once

#include "kernels/optimizer.h"

// Declares the bodies in namespace cpu and, weak as a kernel's, in namespace cuda.
#define MORA_BODIES(result, name, ...)    \
  namespace cpu {                         \
  result name(__VA_ARGS__);               \
  }                                       \
  namespace cuda {                        \
  [[gnu::weak]] result name(__VA_ARGS__); \
  }

namespace mora::kernels {

// Throw unless the gate of an update is f64 (1), and a loss floating (1), on `device`. Undefined ones pass.
void check_gate(Device device, const Tensor& gate);
void check_loss(Device device, const Tensor& loss);

MORA_BODIES(void, sgd_update, std::span<SgdTerm> terms, const SgdRule& rule, const Tensor& gate, const Tensor& steps)
MORA_BODIES(void, adamw_update, std::span<AdamWTerm> terms, const AdamWRule& rule, const Tensor& gate,
            const Tensor& steps)
MORA_BODIES(void, lamb_update, std::span<LambTerm> terms, const LambRule& rule, const Tensor& gate, const Tensor& steps)
MORA_BODIES(std::vector<double>, norms, std::span<const Tensor> tensors)
MORA_BODIES(double, inner_product, std::span<const Tensor> xs, std::span<const Tensor> ys)
MORA_BODIES(double, perturbation_norm, std::span<const PerturbationTerm> terms, double eta)
MORA_BODIES(void, perturb, std::span<PerturbationTerm> terms, double eta, double factor)
MORA_BODIES(double, global_norm, std::span<const Tensor> tensors)
MORA_BODIES(void, scale_all, std::span<Tensor> tensors, double factor)
MORA_BODIES(Clipped, clip, std::span<Tensor> gradients, double most, const Tensor& loss)
MORA_BODIES(void, add_all, std::span<const Tensor> xs, std::span<Tensor> ys, double factor)
MORA_BODIES(void, copy_all, std::span<const Tensor> xs, std::span<Tensor> ys)

namespace cuda {
[[gnu::weak]] Tensor sgd_steps(std::span<SgdTerm> terms, const SgdRule& rule);
[[gnu::weak]] Tensor adamw_steps(std::span<AdamWTerm> terms, const AdamWRule& rule);
[[gnu::weak]] Tensor lamb_steps(std::span<LambTerm> terms, const LambRule& rule);
}  // namespace cuda

}  // namespace mora::kernels

#undef MORA_BODIES
