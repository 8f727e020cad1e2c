// A routed layer: what it adds to a linear depends on the token, by experts, by adaptive steps, or by both.
#pragma once

#include "mora/act/halting.h"
#include "mora/adapters/mora_layer.h"
#include "mora/experts/dispatch.h"
#include "mora/experts/router.h"

namespace mora {

struct RoutedSpec {
  std::optional<RoutingSpec> experts{};
  std::optional<HaltingSpec> act{};  // of MoRA
  bool any() const { return experts || act; }
};

// The experts are LoRA or MoRA, all of one rank, stacked in few tensors; how they are computed: dispatch.h.
//   LoRA  f(x) = Σ_e g_e(x)·s·B_e·A_e·x.  Parameters lora_A (E·r, in), lora_B (E·r, out). B = 0 at the start.
//   MoRA  f(x) = D(Σ_e g_e(x)·M_e·C(x)).  Parameter M (E·r̂, r̂), r̂ of `spec.rank` as for one MoRA. M = 0 at the start.
//   MoRA with adaptive steps  s¹ = C(x), zⁿ = Σ_e g_e(x)·M_e·sⁿ, f(x) = D(Σ_n pⁿ zⁿ): act/halting.h. The experts are
//         chosen once.
// Without experts E = 1 and g = 1.
class RoutedLayer final : public MoRALayer {
 public:
  // Of kind lora or mora; its parameters are what `make` gives for their names and shapes, floating.
  RoutedLayer(AdapterSpec spec, const RoutedSpec& routed, int64_t in, int64_t out, uint64_t index,
              ExpertRouter::Make make);
  // Router ~ N(0, 0.02), its thresholds 0; A as a LoRA's; act.weight 0, act.bias 1.
  static std::unique_ptr<RoutedLayer> fresh(const AdapterSpec& spec, const RoutedSpec& routed, int64_t in, int64_t out,
                                            uint64_t seed, uint64_t index);

  Tensor update(const Tensor& x, Context& context) const override;
  bool needs_all_tokens() const override { return true; }
  void visit_parameters(ParameterVisitor visit) override;
  // Where the router gives every token the same gates (its weights are 0, or each level has one expert) and there is
  // one step, the layer is static. Else these throw ConfigError: it is no one change of the weight.
  Tensor merged() const override;
  LowRank as_low_rank() const override;
  int64_t rank() const override { return spec_.rank; }  // of one expert
  const AdapterSpec& spec() const override { return spec_; }
  RoutedSpec routed() const;
  int64_t experts() const { return router_ ? router_->spec().experts() : 1; }
  uint64_t index() const { return index_; }

  // dynmoe: what becomes of the experts.
  struct Change {
    std::vector<int64_t> kept;      // rising
    std::vector<double> direction;  // (in), of unit length: a new expert's row of the router; empty: none is added
    bool operator==(const Change&) const = default;
  };
  // The rows of a parameter, or of a moment of it, after the change; those of what is added are 0. Halting's stay.
  Tensor select(const std::string& name, const Tensor& t, const Change& change) const;
  // A new expert adds nothing yet: its B or M is 0, its threshold too. A from `stream`.
  void apply(const Change& change, const RandomStream& stream);
  // What autograd keeps of a token besides x, in numbers.
  int64_t kept_numbers(bool dropout) const;

 private:
  Dispatch way() const;
  Tensor mixed(const Tensor& s, const Routes& routes) const;  // Σ_e g_e·M_e·s, (n, chunks, r̂)
  Tensor constant_gates() const;                              // (E) in f64; throws where they depend on the token
  int64_t rows_of_expert(const std::string& name) const;

  AdapterSpec spec_;
  int64_t in_, out_;
  uint64_t index_;
  std::optional<ExpertRouter> router_;
  std::optional<Halting> halting_;
  Tensor a_, b_;                    // LoRA
  kernels::MoraOperator operator_;  // MoRA
  Tensor matrix_;
};

}  // namespace mora
