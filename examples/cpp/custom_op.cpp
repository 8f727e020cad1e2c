// An op of one's own: softplus, y = log(1 + eˣ), from its equation to its test.          Dugas et al. 2001
#include <fmt/format.h>

#include <cmath>

#include "autograd/gradcheck.h"
#include "autograd/op.h"
#include "autograd/ops/arithmetic.h"
#include "autograd/ops/elementary.h"

namespace {

using namespace mora;

struct Softplus {
  static constexpr std::string_view name = "softplus";
  static constexpr Saves saves{.inputs = 0b1};  // what vjp reads

  Meta infer(const Meta& x) const {
    require<DTypeError>(x.dtype == DType::f64, "softplus: expected f64, not {}", name_of(x.dtype));
    return x;
  }
  void forward(const Tensor& x, Tensor& y) const {
    const double* from = x.data<double>();
    double* to = y.mutable_data<double>();
    for (int64_t i = 0; i < x.numel(); ++i)
      to[i] = std::max(from[i], 0.0) + std::log1p(std::exp(-std::fabs(from[i])));  // never overflows
  }
  // The same in plain ops: what forward is compared with.
  Tensor composite(const Tensor& x) const { return log(exp(x) + 1.0); }
  // Written in ops, so that it can be differentiated again: gx = gy·σ(x).
  Tensors vjp(const Saved& s, const Tensor& gy, Need) const { return {gy * sigmoid(s.input(0))}; }
};

}  // namespace

int main() {
  const auto softplus = [](std::span<const Tensor> in) -> Tensors { return {apply(Softplus{}, in[0])}; };
  const Tensors x{Tensor::from(std::vector<double>{-3, -0.5, 0.25, 2, 7}, {5})};
  const Tensor result = softplus(x)[0];
  const auto y = result.values<double>();
  const Tensor plain = Softplus{}.composite(x[0]);
  for (size_t i = 0; i < y.size(); ++i) {
    fmt::print("softplus({:5}) = {:.6f}\n", x[0].values<double>()[i], y[i]);
    if (std::fabs(y[i] - plain.values<double>()[i]) > 1e-12) return 1;
  }
  const std::string wrong = check_grads(softplus, x, {.order = 2});  // against central differences, twice
  fmt::print("derivatives to second order: {}\n", wrong.empty() ? "right" : wrong);
  return wrong.empty() ? 0 : 1;
}
