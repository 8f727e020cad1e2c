// Launches of the kernels over many tensors (kernels/cuda/optimizer.cu): one launch for all terms, whose tensors are
// cut into pieces. The terms are a table in the device's memory; all tensors of a launch have one dtype.
#pragma once

#include "kernels/cuda/view.h"

namespace mora::kernels::cuda {

inline constexpr int64_t elements_of_piece = 8192;

// What every term begins with.
struct Term {
  int64_t size = 0;         // elements of each of its tensors
  int64_t first_piece = 0;  // pieces of the terms before
  bool packed = false;      // all its tensors start where 16 bytes can be moved at once

  int64_t pieces() const { return (size + elements_of_piece - 1) / elements_of_piece; }
};

// The members of the rules and terms of kernels/optimizer.h, with what they give for a step; tensors that are undefined
// there are null here.
struct SgdStep : Term {
  void *parameter, *gradient, *buffer;
  double lr, weight_decay, scale, momentum, dampening;
  bool first, nesterov;
};
struct AdamWStep : Term {
  void *parameter, *gradient, *mean, *square, *largest;
  double beta1, beta2, eps;
  double kept;               // 1 − lr·wd
  double step;               // lr/(1 − β₁ᵗ)
  double square_correction;  // (1 − β₂ᵗ)^−½
};
struct LambStep : Term {
  void *parameter, *gradient, *mean, *square;
  double beta1, beta2, eps, lr, weight_decay, norm_floor;
  double mean_correction, square_correction;  // (1 − β₁ᵗ)^−1, (1 − β₂ᵗ)^−½
  bool trust;
};
struct Pair : Term {
  void *x, *y;
  double factor = 1;
};
struct Perturbation : Term {
  void *parameter, *gradient;
  double eta, factor;
  bool scaled;
};
struct Scaling : Term {
  void* x;
  double factor;
};

template <class T>
struct Table {
  const T* terms = nullptr;  // the device's
  int64_t size = 0;
  int64_t pieces = 0;  // of all terms
  DType dtype = DType::f32;
};

// gate: f64 (1), or absent. Where it is NaN, nothing is changed.
void launch_sgd(const Table<SgdStep>& table, View gate);
void launch_adamw(const Table<AdamWStep>& table, View gate);
// parts: f64 (2 · pieces), rates: f64 (terms): scratch.
void launch_lamb(const Table<LambStep>& table, View parts, View rates, View gate);
void launch_perturb(const Table<Perturbation>& table);
// x *= factor, and times the gate where there is one.
void launch_scale(const Table<Scaling>& table, View gate);
// norm and gate, f64 (1), of kernels::clip. squares: f64 (terms); loss: one number, or absent.
void launch_clip(View squares, View loss, double most, View norm, View gate);
void launch_add(const Table<Pair>& table);   // y += factor·x
void launch_move(const Table<Pair>& table);  // y = x
// sums[t]: of term t's products or squares. parts: f64 (pieces), scratch; sums: f64 (terms).
void launch_products(const Table<Pair>& table, View parts, View sums);
void launch_perturbation_squares(const Table<Perturbation>& table, View parts, View sums);

}  // namespace mora::kernels::cuda
