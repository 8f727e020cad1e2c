// A frozen transformer with adapters on chosen linears, and a head where the task has one.
#pragma once

#include <map>
#include <optional>
#include <variant>
#include <vector>

#include "mora/models/heads.h"
#include "mora/mora_linear.h"

namespace mora {

// Which linears get an adapter: "all-linear" (every linear of the blocks), a regular expression on whole module paths,
// or names
// ("query", or more of the path's end).
using Targets = std::variant<std::string, std::vector<std::string>>;

class MoRAModel {
 public:
  // Puts a fresh adapter on each targeted linear. Throws ConfigError when a target matches nothing, naming the nearest
  // module.
  MoRAModel(std::unique_ptr<Model> base, const AdapterSpec& spec, const Targets& targets, uint64_t seed);

  Model& base() { return *base_; }
  const Model& base() const { return *base_; }
  // The adapted linears by module path.
  const std::map<std::string, MoRALinear*>& adapted() const { return adapted_; }

  // Sequence classification or regression: a trained classifier over pooled sequences.
  void set_head(Pooling pooling, Classifier classifier);
  const std::optional<Classifier>& classifier() const { return classifier_; }
  Pooling pooling() const { return pooling_; }
  // (B, classes). Throws ConfigError without a head.
  Tensor logits(const Sequences& sequences, Context& context) const;

  // Every trained tensor: MODULE.NAME for adapters, classifier.weight and classifier.bias.
  void visit_parameters(MoRALayer::ParameterVisitor visit);
  int64_t trainable_parameters();

 private:
  void adapt(const std::string& path, LinearSlot& slot, const AdapterSpec& spec, uint64_t seed);

  std::unique_ptr<Model> base_;
  std::map<std::string, MoRALinear*> adapted_;
  Pooling pooling_ = Pooling::mean;
  std::optional<Classifier> classifier_;
};

}  // namespace mora
