// A mixture of adapters on one linear: f(x) = Σ_e g_e(x)·f_e(x), with the gates of a router.
#pragma once

#include "mora/adapters/mora_layer.h"
#include "mora/experts/router.h"

namespace mora {

// The experts are LoRA or MoRA, all of one rank, stacked in few tensors; how they are computed: dispatch.h.
//   LoRA  parameters lora_A (E·r, in), lora_B (E·r, out). B = 0 at the start.
//   MoRA  C and D, which have no parameters, are shared. Parameter M (E·r̂, r̂), r̂ of `spec.rank` as for one MoRA. M = 0
//         at the start.
class ExpertsLayer final : public MoRALayer {
 public:
  // Of kind lora or mora; its parameters are what `make` gives for their names and shapes, floating.
  ExpertsLayer(AdapterSpec spec, RoutingSpec routing, int64_t in, int64_t out, uint64_t index, ExpertRouter::Make make);
  // Router ~ N(0, 0.02), its threshold 0; A as a LoRA's.
  static std::unique_ptr<ExpertsLayer> fresh(const AdapterSpec& spec, const RoutingSpec& routing, int64_t in,
                                             int64_t out, uint64_t seed, uint64_t index);

  Tensor update(const Tensor& x, Context& context) const override;
  void visit_parameters(ParameterVisitor visit) override;
  Tensor merged() const override;                       // throws ConfigError: it is no one change of the weight
  LowRank as_low_rank() const override;                 // throws as well
  int64_t rank() const override { return spec_.rank; }  // of one expert
  const AdapterSpec& spec() const override { return spec_; }
  const RoutingSpec& routing() const { return router_.spec(); }
  uint64_t index() const { return index_; }
  // dynmoe: what becomes of the experts.
  struct Change {
    std::vector<int64_t> kept;      // rising
    std::vector<double> direction;  // (in), of unit length: a new expert's row of the router; empty: none is added
    bool operator==(const Change&) const = default;
  };
  // The rows of a parameter, or of a moment of it, after the change; those of what is added are 0.
  Tensor select(const std::string& name, const Tensor& t, const Change& change) const;
  // A new expert adds nothing yet: its B or M is 0, its threshold too. A from `stream`.
  void apply(const Change& change, const RandomStream& stream);
  // What autograd keeps of a token besides x, in numbers.
  int64_t kept_numbers(bool dropout) const;

 private:
  int64_t rows_of_expert(const std::string& name) const;

  AdapterSpec spec_;
  int64_t in_;
  uint64_t index_;
  ExpertRouter router_;
  Tensor a_, b_;                    // LoRA
  kernels::MoraOperator operator_;  // MoRA
  Tensor matrix_;
};

}  // namespace mora
