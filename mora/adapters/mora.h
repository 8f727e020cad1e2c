// MoRA: a square matrix between fixed compression and decompression.   Jiang et al. 2024, arXiv 2405.12130
#pragma once

#include "mora/adapters/mora_layer.h"

namespace mora {

// ΔW = D·M·C with M (r̂, r̂), zero at the start; C: in → r̂ and D: r̂ → out are the operator's (kernels/mora_operator.h).
class MoRA final : public MoRALayer {
 public:
  // `side` is r̂. f64 for gradient checks.
  MoRA(AdapterSpec spec, int64_t in, int64_t out, int64_t side, uint64_t index, DType dtype = DType::f32);

  // The side r̂ whose M has as many parameters as LoRA's A and B of rank r: √((in + out)·r), even for the rotations,
  // and no larger than in and out, beyond which rows of M would be dead.
  static int64_t side_for(const AdapterSpec& spec, int64_t in, int64_t out);

  Tensor update(const Tensor& x, Context& context) const override;
  Tensor forward(const Tensor& x, const std::shared_ptr<const kernels::FrozenWeight>& w,
                 Context& context) const override;
  void visit_parameters(ParameterVisitor visit) override { visit("M", matrix_); }
  Tensor merged() const override;
  const AdapterSpec& spec() const override { return spec_; }

  const kernels::MoraOperator& op() const { return operator_; }
  const Tensor& matrix() const { return matrix_; }

  // Whether ΔW is a product B·A of rank r̂: all but decouple and the rotations.
  bool is_low_rank() const;
  // That product: A = C (r̂, in), B = D·M (out, r̂), scaling 1. Throws ConfigError where it is none.
  struct LowRank {
    Tensor a, b;
  };
  LowRank as_low_rank() const;

 private:
  AdapterSpec spec_;
  kernels::MoraOperator operator_;
  uint64_t index_;
  Tensor matrix_;  // (r̂, r̂)
};

}  // namespace mora
