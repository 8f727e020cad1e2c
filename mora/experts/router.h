// Which experts a token uses, and with what weights.
//
//   p = softmax(x·Wᵀ)                                        x (N, in), W (E, in) → p (N, E), in f32 at least
//   top_k      the k largest of p; gates p / Σ chosen p.     Shazeer et al. 2017; as in MixLoRA, Li et al. 2024
//   top_p      the fewest of the largest whose Σp exceeds P; gates p.
//              Huang et al. 2024, "Harder Tasks Need More Experts"
//   threshold  those with p ≥ τ, τ = τ_max·σ(x·w + b); gates (p − τ)/Σ chosen (p − τ).   Liu & Luo 2024, "AdaMoLE"
//
// Of equal probabilities the first is taken first. The choice itself has no gradient.
#pragma once

#include <map>
#include <span>
#include <vector>

#include "engine/parallel.h"
#include "mora/models/context.h"

namespace mora {

struct RoutingSpec {
  enum class Rule { top_k, top_p, threshold };
  Rule rule = Rule::top_k;
  int64_t count = 8;      // E
  int64_t top_k = 2;      // k
  double top_p = 0.4;     // P
  double threshold = 0;   // τ_max, at most 1/E: then p ≥ τ somewhere, since Σp = 1
  double balance = 0.01;  // the weights of the losses
  double z_loss = 0.001;
  double entropy = 0.0001;  // top_p
  bool operator==(const RoutingSpec&) const = default;
};

std::string_view name_of(RoutingSpec::Rule rule);
// Throws ConfigError that opens with `place` and lists the known ones.
RoutingSpec::Rule parse_routing(std::string_view word, std::string_view place = "adapter.experts.routing");

// What a batch of logits (N, E) was told to do.
struct Routing {
  Tensor gates;                // (N, E), 0 for what is not chosen
  Tensor probabilities;        // (N, E)
  std::vector<int64_t> slots;  // tokens that chose each expert
};

// `threshold` (N, 1): τ of each token, of rule threshold. Σ(p − τ) counts as 1e-6 at least, so that a token whose
// router is uniform at τ = 1/E has gates near 0 and the gradients stay bounded.
Routing route(const RoutingSpec& spec, const Tensor& logits, const Tensor& threshold = {});

// N = E·Σ_i f_i·P_i: f_i the share of the slots that expert i has (no gradient), P_i the mean of p_i; 1 where balanced.
// Fedus et al. 2021, "Switch Transformers", equation 4
Tensor balance_loss(const Routing& routing);
Tensor z_loss(const Tensor& logits);        // mean (logsumexp logits)²   Zoph et al. 2022, "ST-MoE", equation 5
Tensor entropy_loss(const Tensor& logits);  // mean −Σ p·ln p, in nats

// The trained part. Names: weight; threshold_weight, threshold_bias of rule threshold.
class ExpertRouter {
 public:
  using Make = FunctionRef<Tensor(const std::string& name, const Shape& shape)>;
  // Its parameters are what `make` gives for their names and shapes.
  ExpertRouter(RoutingSpec spec, int64_t in, Make make);

  // Gates (N, E) of x (N, in) for the layer of this number. In training the weighted losses go to context.losses;
  // what was chosen goes to context.routed where it is asked for.
  Tensor gates(const Tensor& x, Context& context, uint64_t layer) const;
  void visit_parameters(FunctionRef<void(const std::string& name, Tensor& value)> visit);
  const RoutingSpec& spec() const { return spec_; }

 private:
  RoutingSpec spec_;
  Tensor weight_, threshold_weight_, threshold_bias_;
};

// Over all layers: experts a token (mean), the busiest expert's slots by its layer's fair share, and the mean entropy.
struct RoutingSummary {
  double active_experts = 0, load_max = 0, entropy = 0;
};
RoutingSummary summarize(const RoutedLayers& layers);
// Adds what another batch did.
void accumulate(RoutedLayers& layers, const RoutedLayers& more);

}  // namespace mora
