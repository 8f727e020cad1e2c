// Updates of many parameters in one pass over their memory. All tensors are contiguous, of one dtype a term: f32 or
// f64. An update has a gate, f64 (1) where its parameters are: where that is NaN, nothing is changed. Undefined: it is
// open. So a device decides without the processor waiting for it.
//
// A device reads terms and rules, and so what changes with each step, from its own memory: `X_steps` brings them there,
// u8 (n), and X_update with these brings nothing. A graph (engine/graph.h) that does the update again finds in them
// what was last written there. Undefined: of the processor; to X_update: it brings them itself.
#pragma once

#include <span>
#include <vector>

#include "kernels/dispatch.h"

namespace mora::kernels {

struct SgdRule {
  double momentum = 0, dampening = 0;
  bool nesterov = false;
};
struct SgdTerm {
  Tensor parameter, gradient, buffer;  // buffer: undefined without momentum
  double lr = 0, weight_decay = 0;
  bool first = false;  // the buffer holds nothing yet
  double scale = 1;    // s
};
// g = s·(g + wd·w);  buf = μ·buf + (1 − d)·g, the first time buf = g;  g = nesterov ? g + μ·buf : buf;  w −= lr·g
void sgd_update(std::span<SgdTerm> terms, const SgdRule& rule, const Tensor& gate = {}, const Tensor& steps = {});
Tensor sgd_steps(std::span<SgdTerm> terms, const SgdRule& rule);

struct AdamWRule {
  double beta1 = 0.9, beta2 = 0.999, eps = 1e-8;
};
struct AdamWTerm {
  Tensor parameter, gradient, mean, square, largest;  // largest: of the squares, for amsgrad; else undefined
  double lr = 0, weight_decay = 0;
  int64_t step = 1;  // this update's number, from 1
};
// w *= 1 − lr·wd;  m += (1 − β₁)(g − m);  v = β₂v + (1 − β₂)g²;  w −= lr/(1 − β₁ᵗ) · m/(√v/√(1 − β₂ᵗ) + eps)
// Loshchilov & Hutter 2019, "Decoupled Weight Decay Regularization"; amsgrad (Reddi et al. 2018) takes the largest v.
void adamw_update(std::span<AdamWTerm> terms, const AdamWRule& rule, const Tensor& gate = {}, const Tensor& steps = {});
Tensor adamw_steps(std::span<AdamWTerm> terms, const AdamWRule& rule);

struct LambRule {
  double beta1 = 0.9, beta2 = 0.999, eps = 1e-6;
  double norm_floor = 0;
};
struct LambTerm {
  Tensor parameter, gradient, mean, square;
  double lr = 0, weight_decay = 0;
  int64_t step = 1;
  bool trust = true;  // false: r = 1
};
// m, v as AdamW's;  u = m̂/(√v̂ + eps) + wd·w;  w −= lr·r·u,  r = ‖w‖/‖u‖ of the tensor, 1 where ‖w‖ ≤ norm_floor or
// ‖u‖ = 0.   You et al. 2020, "Large Batch Optimization for Deep Learning", LAMB
void lamb_update(std::span<LambTerm> terms, const LambRule& rule, const Tensor& gate = {}, const Tensor& steps = {});
Tensor lamb_steps(std::span<LambTerm> terms, const LambRule& rule);

// ‖x‖₂ of each tensor, summed in f64 in an order that depends on the shapes alone.
std::vector<double> norms(std::span<const Tensor> tensors);
// Σ x·y over all elements of all tensors, likewise. xs[i] and ys[i] are of one shape and dtype.
double inner_product(std::span<const Tensor> xs, std::span<const Tensor> ys);

// A parameter that SAM moves: by T²∘g, T = |w| + eta where `scaled` (ASAM's weights), else 1.
struct PerturbationTerm {
  Tensor parameter, gradient;
  bool scaled = false;
};
// ‖T∘g‖₂ over all terms.
double perturbation_norm(std::span<const PerturbationTerm> terms, double eta);
// w += factor·T²∘g
void perturb(std::span<PerturbationTerm> terms, double eta, double factor);

// √Σx² over all elements of all tensors, summed in f64 in an order that depends on the shapes alone.
double global_norm(std::span<const Tensor> tensors);
// x *= factor.
void scale_all(std::span<Tensor> tensors, double factor);
// y += factor·x; ys[i] and xs[i] are of one shape and dtype.
void add_all(std::span<const Tensor> xs, std::span<Tensor> ys, double factor = 1);
// y = x, likewise.
void copy_all(std::span<const Tensor> xs, std::span<Tensor> ys);

// The global norm of gradients before they were clipped, and the gate of the update that follows them: f64 (1) each.
struct Clipped {
  Tensor norm, gate;
};
// gate = min(1, most/(norm + 1e-6)), NaN where the norm or `loss` (one element of any floating dtype; undefined: none)
// is not finite;  g *= gate unless that is NaN.   Pascanu et al. 2013; as PyTorch's clip_grad_norm_
Clipped clip(std::span<Tensor> gradients, double most, const Tensor& loss = {});

}  // namespace mora::kernels
