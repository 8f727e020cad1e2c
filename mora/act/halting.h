// Adaptive computation time: each token takes as many steps as it needs.   Graves 2016; Banino et al. 2021, "PonderNet"
//
//   hⁿ = σ(w·sⁿ + b),  sⁿ⁺¹ = sⁿ + tanh(zⁿ),  zⁿ what a step makes of sⁿ;  output Σ pⁿ zⁿ
//   graves     pⁿ = hⁿ
//   pondernet  pⁿ = hⁿ·(1 − Σ_{j<n} pʲ) = hⁿ·Π_{j<n} (1 − hʲ)
//
// A token halts at the first step N where Σ pⁿ reaches 1 − ε, and at the limit; its weight there is R = 1 − Σ_{n<N} pⁿ,
// so that weights sum to 1. N has no derivative. Cost of a token: N + R (graves), or KL(p ‖ geometric of 0.2, cut off
// at the limit) (pondernet; the expectation is taken of what the layer adds, not of the loss). Halted tokens are
// compacted away: a step is computed for the others alone.
#pragma once

#include <string>
#include <string_view>

#include "engine/parallel.h"
#include "mora/models/context.h"

namespace mora {

struct HaltingSpec {
  enum class Loss { graves, pondernet };
  int64_t max_steps = 4;
  double epsilon = 0.01;
  double ponder = 0.01;  // the weight of the mean cost
  Loss loss = Loss::graves;
  bool operator==(const HaltingSpec&) const = default;
};

std::string_view name_of(HaltingSpec::Loss loss);
// Throws ConfigError that opens with `place` and lists the known ones.
HaltingSpec::Loss parse_ponder_loss(std::string_view word, std::string_view place = "adapter.act.loss");

class Halting {
 public:
  using Make = FunctionRef<Tensor(const std::string& name, const Shape& shape)>;
  // Its parameters are what `make` gives: act.weight (1, width), act.bias (1).
  Halting(HaltingSpec spec, int64_t width, Make make);

  // z (n, width) of states s (n, width): those of the tokens `rows`, i32 (n); undefined: of all.
  using Step = FunctionRef<Tensor(const Tensor& s, const Tensor& rows)>;
  // Σ pⁿ zⁿ from s¹ = start, (N, width), for the layer of this number. In training the weighted cost goes to
  // context.losses; the steps that were taken go to context.routed where it is asked for.
  Tensor run(const Tensor& start, Step step, Context& context, uint64_t layer) const;

  void visit_parameters(FunctionRef<void(const std::string& name, Tensor& value)> visit);
  const HaltingSpec& spec() const { return spec_; }

 private:
  struct Tokens;                                                               // those that have not halted
  Tensor probability(const Tokens& now) const;                                 // pⁿ, (n, 1)
  Tensor cost(const Tensor& weight, const Tensor& halts, int64_t step) const;  // of all tokens of a step, a scalar

  HaltingSpec spec_;
  Tensor weight_, bias_;
};

}  // namespace mora
