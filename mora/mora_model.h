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
  explicit MoRAModel(std::unique_ptr<Model> base) : base_(std::move(base)) {}

  // Puts a fresh adapter on each targeted linear. Throws ConfigError when a target matches nothing, naming the nearest
  // module.
  void add_adapters(const AdapterSpec& spec, const Targets& targets, uint64_t seed);
  // Puts `layer` on the linear of this module path, or on the one whose path ends with it. Throws ConfigError when
  // there is none.
  void attach(const std::string& module, std::unique_ptr<MoRALayer> layer);
  // The linear of that path (or path's end), null when there is none.
  const Linear* find(const std::string& module);

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
  LinearSlot* slot_of(const std::string& module, std::string& path);
  void put(const std::string& path, LinearSlot& slot, std::unique_ptr<MoRALayer> layer);

  std::unique_ptr<Model> base_;
  std::map<std::string, MoRALinear*> adapted_;
  Pooling pooling_ = Pooling::mean;
  std::optional<Classifier> classifier_;
};

}  // namespace mora
