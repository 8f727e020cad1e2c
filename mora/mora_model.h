// A frozen transformer with adapters on chosen linears and embeddings, and a head where the task has one.
#pragma once

#include <map>
#include <optional>
#include <variant>
#include <vector>

#include "mora/experts/routed_layer.h"
#include "mora/models/heads.h"
#include "mora/mora_linear.h"

namespace mora {

// Which linears and embeddings get an adapter: "all-linear" (every linear of the blocks), a regular expression on whole
// module paths, or names ("query", or more of the path's end).
using Targets = std::variant<std::string, std::vector<std::string>>;

// Where modules depart from the spec, by regular expressions on module paths that PEFT's rank_pattern and alpha_pattern
// would take.
struct AdapterPatterns {
  std::map<std::string, int64_t> rank;
  std::map<std::string, double> alpha;
};

class MoRAModel {
 public:
  explicit MoRAModel(std::unique_ptr<Model> base) : base_(std::move(base)) {}

  // Puts a fresh adapter on each targeted linear that has none: one of the spec, or a routed layer. Throws
  // ConfigError when a target or a pattern matches nothing, naming the nearest module, and where a target is an
  // embedding and the spec anything but LoRA.
  void add_adapters(const AdapterSpec& spec, const Targets& targets, uint64_t seed,
                    const AdapterPatterns& patterns = {}, const RoutedSpec& routed = {});
  // Trains the linears whose paths end with one of `names` whole. Throws ConfigError when a name matches nothing.
  void train_whole(const std::vector<std::string>& names);
  // Puts `layer`, an EmbeddingLoRA where it is an embedding, on the linear of this module path, or on the one whose
  // path ends with it. Throws ConfigError when there is none.
  void attach(const std::string& module, std::unique_ptr<MoRALayer> layer);
  // Brings the model, its adapters and its head to a device; what is put on it later comes there too.
  void to(Device device);
  // Takes all adapters off: the model is what it was. The head stays.
  void remove_adapters() { take_adapters(); }
  // The same, and hands them over by module path.
  std::map<std::string, std::unique_ptr<MoRALinear>> take_adapters();

  // A linear or an embedding, and its number in the model (from 1), which tells its random streams from the others'.
  struct Place {
    std::string path;
    LinearSlot* slot;
    uint64_t index;
    bool embedding = false;
  };
  // The module of that path (or path's end), if there is one.
  std::optional<Place> find(const std::string& module);

  Model& base() { return *base_; }
  const Model& base() const { return *base_; }
  // The adapted linears and embeddings by module path.
  const std::map<std::string, MoRALinear*>& adapted() const { return adapted_; }

  // Sequence classification or regression: a trained classifier over pooled sequences.
  void set_head(Pooling pooling, Classifier classifier);
  void remove_head() { classifier_.reset(); }
  const std::optional<Classifier>& classifier() const { return classifier_; }
  Pooling pooling() const { return pooling_; }
  // (B, classes). Throws ConfigError without a head.
  Tensor logits(const Sequences& sequences, Context& context) const;

  // Every trained tensor: MODULE.NAME for adapters, classifier.weight and classifier.bias.
  void visit_parameters(MoRALayer::ParameterVisitor visit);
  // What the adapters keep besides: MODULE.NAME.
  void visit_constants(MoRALayer::ParameterVisitor visit);
  // What the adapters add to a mean loss (AdaLoRA's orthogonality), a scalar; undefined where it is nothing.
  Tensor penalty() const;
  int64_t trainable_parameters();

 private:
  std::vector<Place> places(bool outside_blocks);
  std::vector<Place> targeted(const Targets& targets);
  std::vector<Place> ending_with(const std::vector<std::string>& names, std::string_view key);
  std::unique_ptr<MoRALayer> fresh_layer(const Place& place, const AdapterSpec& spec, uint64_t seed,
                                         const RoutedSpec& routed) const;
  void put(const Place& place, std::unique_ptr<MoRALayer> layer);

  std::unique_ptr<Model> base_;
  std::map<std::string, MoRALinear*> adapted_;
  Pooling pooling_ = Pooling::mean;
  std::optional<Classifier> classifier_;
};

}  // namespace mora
