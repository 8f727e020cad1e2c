// MoRA: a square matrix between fixed compression and decompression.   Jiang et al. 2024, arXiv 2405.12130
#pragma once

#include <optional>
#include <vector>

#include "mora/adapters/mora_layer.h"

namespace mora {

// ΔW = D·M·C with M (r̂, r̂), zero at the start; C: in → r̂ and D: r̂ → out are the operator's (kernels/mora_operator.h).
// r̂ cannot change in place, since C and D follow from it: `fold` moves what was learnt into the working weight and the
// layer's history, and starts a new M. Then ΔW = Σ_h D_h·M_h·C_h + D·M·C.
class MoRA final : public MoRALayer {
 public:
  // `side` is r̂. f64 for gradient checks.
  MoRA(AdapterSpec spec, int64_t in, int64_t out, int64_t side, uint64_t index, DType dtype = DType::f32);

  // The side r̂ whose M has as many parameters as LoRA's A and B of rank r: √((in + out)·r), rounded.
  static int64_t side_of_equal_parameters(int64_t rank, int64_t in, int64_t out);
  // That side, even for the rotations, and no larger than in and out, beyond which rows of M would be dead.
  static int64_t side_for(const AdapterSpec& spec, int64_t in, int64_t out);

  Tensor update(const Tensor& x, Context& context) const override;
  std::optional<AdaptedTerm> term(const FrozenWeightPtr& w, DType dtype, const Context& context) const override;
  void visit_parameters(ParameterVisitor visit) override { visit("M", matrix_); }
  void visit_constants(ParameterVisitor visit) override;  // history.0.M, …
  Tensor base_shift() const override;
  Tensor merged() const override;
  int64_t rank() const override { return spec_.rank; }
  const AdapterSpec& spec() const override { return spec_; }

  const kernels::MoraOperator& op() const { return operator_; }
  const Tensor& matrix() const { return matrix_; }

  // Keeps D·M·C in the history (where M is not zero) and goes on with M = 0 of another operator and rank. What the
  // layer adds to the model's own weight stays as it is; whoever holds the working weight must make it anew.
  void fold(kernels::OperatorKind op, int64_t rank);
  struct Folded {
    kernels::MoraOperator op;
    Tensor matrix;
  };
  const std::vector<Folded>& history() const { return history_; }
  void set_history(std::vector<Folded> history) { history_ = std::move(history); }

  // Whether ΔW is a product B·A of rank Σr̂: no operator is decouple or a rotation.
  bool is_low_rank() const;
  // That product: A = C (r̂, in), B = D·M (out, r̂), those of the history beside them; scaling 1. Throws ConfigError
  // where it is none.
  LowRank as_low_rank() const override;

 private:
  std::optional<kernels::OperatorKind> obstacle() const;

  AdapterSpec spec_;
  kernels::MoraOperator operator_;
  uint64_t index_;
  Tensor matrix_;  // (r̂, r̂)
  std::vector<Folded> history_;
};

}  // namespace mora
