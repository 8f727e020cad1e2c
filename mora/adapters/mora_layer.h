// What is added to a frozen linear.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "autograd/ops/adapted_linear.h"
#include "engine/parallel.h"
#include "kernels/matmul.h"
#include "kernels/mora_operator.h"
#include "mora/models/context.h"

namespace mora {

using FrozenWeightPtr = std::shared_ptr<const kernels::FrozenWeight>;

// How one layer's adapter is made.
struct AdapterSpec {
  enum class Kind { mora, lora, dora, adalora, whole };
  // Of the lora family. kaiming: A uniform, B = 0. gaussian: A ~ N(0, 1/r), B = 0. pissa, olora: A and B from the
  // weight, which is reduced by their product.
  enum class Init { kaiming, gaussian, pissa, olora };
  Kind kind = Kind::mora;
  // LoRA's r at the start, which its scaling keeps when ranks change; MoRA takes the r̂ of equal parameter count
  int64_t rank = 8;
  kernels::OperatorKind op = kernels::OperatorKind::rotation;  // MoRA
  double alpha = 16;                                           // LoRA: the update is multiplied by α/r,
  bool rank_stabilized = false;                                // or by α/√r (Kalajdzievski 2023, rsLoRA)
  Init init = Init::kaiming;
  double dropout = 0;  // on the adapter's input
};

std::string_view name_of(AdapterSpec::Kind kind);
std::string_view name_of(kernels::OperatorKind op);
// Throw ConfigError that opens with `place` and lists the known ones.
AdapterSpec::Kind parse_adapter_kind(std::string_view word, std::string_view place = "adapter.kind");
AdapterSpec::Init parse_init(std::string_view word);  // as the configuration: "default" is kaiming
kernels::OperatorKind parse_operator(std::string_view word, std::string_view place = "adapter.operator");

// ΔW = scaling·B·A
struct LowRank {
  Tensor a, b;  // (r, in), (out, r)
  double scaling = 1;
};

// The update of one linear W (out, in): y += f(x). Of an embedding, x is ids i32 (N) in place of (N, in), one-hot rows.
class MoRALayer {
 public:
  virtual ~MoRALayer() = default;

  // What is added, f(x): x (N, in) → (N, out)
  virtual Tensor update(const Tensor& x, Context& context) const = 0;
  // The adapted linear, x·Wᵀ + b + f(x), in one op where the layer has a term. W is the working weight.
  virtual Tensor forward(const Tensor& x, const FrozenWeightPtr& w, Context& context) const;
  // The same as a part of the op that linears of one x share, for x of `dtype`; none where it takes more than that.
  virtual std::optional<AdaptedTerm> term(const FrozenWeightPtr&, DType, const Context&) const { return {}; }
  // Whether it adds to the loss or notes in the context what it did with each token of a batch.
  virtual bool needs_all_tokens() const { return false; }
  // Trained tensors by their name inside the layer.
  using ParameterVisitor = FunctionRef<void(const std::string& name, Tensor& value)>;
  virtual void visit_parameters(ParameterVisitor visit) = 0;
  // Tensors that belong to the layer and are not trained.
  virtual void visit_constants(ParameterVisitor) {}
  // Brings what it computes with to a device, but for the frozen weight. Events that change it (resize, fold) leave
  // it where it is.
  virtual void to(Device device);
  // The working weight less the model's own, (out, in) in f64 on the processor: what was folded in; else undefined.
  virtual Tensor base_shift() const { return {}; }
  // ΔW (out, in) on the model's own weight, base_shift included, computed in f64 from the layer's formula. Static
  // layers only.
  virtual Tensor merged() const = 0;
  // b' in place of the model's bias, where it is trained.
  virtual Tensor merged_bias() const { return {}; }
  // ΔW as a product. Throws ConfigError where it is none of a useful rank.
  virtual LowRank as_low_rank() const = 0;
  virtual int64_t rank() const = 0;  // now
  virtual const AdapterSpec& spec() const = 0;
};

// Throws ConfigError for a rank above the smaller side of a weight (out, in).
void check_rank(const AdapterSpec& spec, int64_t in, int64_t out);

// A fresh layer that leaves the function of the linear as it is. Parameters are f32 leaves. `index` tells the model's
// layers apart in random streams.
std::unique_ptr<MoRALayer> make_layer(const AdapterSpec& spec, const FrozenWeightPtr& w, uint64_t seed, uint64_t index);

}  // namespace mora
