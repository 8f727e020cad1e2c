// Which experts a token uses, and with what weights.  x (N, in) → gates (N, E)
//
//   logits = x·Wᵀ, p = softmax(logits), in f32 at least
//   top_k      the k largest of p; g = p / Σ chosen p.       Shazeer et al. 2017; as in MixLoRA, Li et al. 2024
//   top_p      the fewest of the largest whose Σp exceeds P; g = p.
//              Huang et al. 2024, "Harder Tasks Need More Experts"
//   threshold  p ≥ τ, τ = τ_max·σ(x·w + b); g = (p − τ) / Σ chosen (p − τ).       Liu & Luo 2024, "AdaMoLE"
//   switch     the largest p; g = p. In training x is multiplied by noise, and an expert takes ⌈N/E·capacity⌉ tokens:
//              the later ones go without.                    Fedus et al. 2022, "Switch Transformers"
//   dynmoe     s = σ(2·cos(x, W_e)), those with s > σ(G_e); g = 1 / chosen; p = s / Σs.
//              Guo et al. 2024, "Dynamic Mixture of Experts"
//
// Of equal probabilities the first expert comes first. A token uses one expert at least, its likeliest, but for
// switch's overflow. The choice has no derivative. dynmoe's gates are differentiated straight through it, as
// (1 + d − d₀) / chosen with d = s − σ(G) and d₀ its value, over the chosen experts: the others need not be computed.
//
// Experts may stand in a tree, `levels` = {2, 4}: 2 groups of 4 leaves. Each node is an expert; the rule chooses among
// the root's children, then among the children of each chosen node, and a node's gate is the product of the gates on
// its path. N·parents rows of logits make the choice at a level as N rows do for a flat mixture, which is one level.
#pragma once

#include <map>
#include <optional>
#include <span>
#include <vector>

#include "engine/parallel.h"
#include "mora/models/context.h"

namespace mora {

struct RoutingSpec {
  enum class Rule { top_k, top_p, threshold, dynmoe, switch_top1 };
  Rule rule = Rule::top_k;
  std::vector<int64_t> levels{8};     // children of a node, level by level
  int64_t top_k = 2;                  // k
  double top_p = 0.4;                 // P
  std::optional<double> threshold{};  // τ_max, at most 1 / children: then p ≥ τ somewhere, since Σp = 1; none: that
  double capacity = 1.25;             // switch: in fair shares
  double noise = 0.01;                // switch: x is multiplied by U(1 − noise, 1 + noise)
  double balance = 0.01;              // the weights of the losses
  double z_loss = 0.001;
  double entropy = 0.0001;  // top_p
  bool operator==(const RoutingSpec&) const = default;

  int64_t experts() const;      // E: the nodes of all levels
  int64_t most_active() const;  // experts a token can use
  void check() const;           // throws ConfigError for what cannot be meant
};

std::string_view name_of(RoutingSpec::Rule rule);
// Throws ConfigError that opens with `place` and lists the known ones.
RoutingSpec::Rule parse_routing(std::string_view word, std::string_view place = "adapter.experts.routing");

struct Routes {
  Tensor gates;   // (N, E), level after level; 0 for what is not chosen
  Tensor chosen;  // (N, E): 1 for what is, else 0; without history
};

class ExpertRouter {
 public:
  using Make = FunctionRef<Tensor(const std::string& name, const Shape& shape)>;
  // Its parameters are what `make` gives for their names and shapes: router.weight (E, in); router.threshold_weight
  // (levels, in) and router.threshold_bias (levels) of threshold; router.expert_threshold (E) of dynmoe.
  ExpertRouter(RoutingSpec spec, int64_t in, Make make);

  // For the layer of this number. In training a loss goes to context.losses, with the spec's weights and summed over
  // levels of n nodes each:
  //   balance  n·Σ f_i·P_i, f_i the share of choices that node i has (no gradient), P_i the mean of Π p on its path;
  //            1 where balanced.                            Fedus et al. 2022, equation 4
  //   z_loss   mean (logsumexp logits)²                     Zoph et al. 2022, "ST-MoE", equation 5
  //   entropy  of the leaf's probability, mean, in nats
  // What was chosen goes to context.routed and context.by_token where it is asked for.
  Routes route(const Tensor& x, Context& context, uint64_t layer) const;
  void visit_parameters(FunctionRef<void(const std::string& name, Tensor& value)> visit);
  const RoutingSpec& spec() const { return spec_; }
  // Whether all tokens have the same gates: one expert a level, or weights of 0.
  bool is_constant() const;
  // Of a flat router whose parameters were resized.
  void set_count(int64_t experts) { spec_.levels = {experts}; }

 private:
  struct Scores {        // of one level, R = N·parents rows of its children
    Tensor logits, p;    // (R, children)
    Tensor log_p;        // (R, children)
    Tensor margin = {};  // (R, children): p − τ, or s − σ(G)
  };
  struct Level;
  Level choose_level(const Tensor& x, const Tensor& logits, size_t l, int64_t first,
                     const std::optional<Level>& above) const;
  Tensor noisy(const Tensor& x, const Context& context, uint64_t layer) const;
  Tensor logits(const Tensor& x) const;                                      // (N, E)
  Scores scores(const Tensor& x, const Tensor& logits, size_t level) const;  // of the level's logits
  Tensor choose(const Scores& s, const Tensor& reached) const;  // (R, children): 1 or 0; of reached (R), or of all rows
  Tensor gates(const Scores& s, const Tensor& mask) const;      // (R, children)
  Tensor loss(const Level& level) const;                        // a scalar; undefined: none

  RoutingSpec spec_;
  Tensor weight_, threshold_weight_, threshold_bias_, expert_threshold_;
};

// Over all layers: experts and steps a token (means; 0 where there are none), the idlest and the busiest expert's
// tokens by the fair share of their level, and the mean entropy.
struct RoutingSummary {
  double active_experts = 0, load_min = 0, load_max = 0, entropy = 0, steps = 0;
};
RoutingSummary summarize(const RoutedLayers& layers);
// Adds what another batch did.
void accumulate(RoutedLayers& layers, const RoutedLayers& more);

}  // namespace mora
