#include "kernels/routing.h"

namespace mora::kernels {

void check_choice(const Tensor& p, const Tensor& margin, const Tensor& reached, const Tensor& chosen) {
  invariant(p.rank() == 2 && p.dim(1) > 0 && (p.dtype() == DType::f32 || p.dtype() == DType::f64),
            "choose_experts: p {} of {}", p.shape(), name_of(p.dtype()));
  const auto fits = [&](const Tensor& t, const Shape& shape) {
    return !t.defined() || (t.shape() == shape && t.dtype() == p.dtype() && t.is_contiguous());
  };
  invariant(fits(p, p.shape()) && fits(margin, p.shape()) && fits(chosen, p.shape()) && fits(reached, {p.dim(0)}),
            "choose_experts: a margin, rows reached or a choice that are not p's {}", p.shape());
}

}  // namespace mora::kernels
