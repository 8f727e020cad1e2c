// What is added to a frozen linear.
#pragma once

#include <memory>
#include <string>

#include "engine/parallel.h"
#include "kernels/matmul.h"
#include "kernels/mora_operator.h"
#include "mora/models/context.h"

namespace mora {

// How one layer's adapter is made.
struct AdapterSpec {
  enum class Kind { mora, lora };
  Kind kind = Kind::mora;
  int64_t rank = 8;                                            // LoRA's r; MoRA takes the r̂ of equal parameter count
  kernels::OperatorKind op = kernels::OperatorKind::rotation;  // MoRA
  double alpha = 16;                                           // LoRA: the update is multiplied by α/r,
  bool rank_stabilized = false;                                // or by α/√r (Kalajdzievski 2023, rsLoRA)
  bool gaussian = false;                                       // LoRA: A ~ N(0, 1/r) instead of Kaiming's uniform
  double dropout = 0;                                          // on the adapter's input
};

std::string_view name_of(AdapterSpec::Kind kind);
std::string_view name_of(kernels::OperatorKind op);
// Throws ConfigError that lists the known ones.
AdapterSpec::Kind parse_adapter_kind(std::string_view word);
kernels::OperatorKind parse_operator(std::string_view word);

// The update of one linear W (out, in): y += f(x).
class MoRALayer {
 public:
  virtual ~MoRALayer() = default;

  // What is added, f(x): x (N, in) → (N, out)
  virtual Tensor update(const Tensor& x, Context& context) const = 0;
  // The adapted linear, x·Wᵀ + b + f(x), in one op where the layer has one.
  virtual Tensor forward(const Tensor& x, const std::shared_ptr<const kernels::FrozenWeight>& w,
                         Context& context) const;
  // Trained tensors by their name inside the layer.
  using ParameterVisitor = FunctionRef<void(const std::string& name, Tensor& value)>;
  virtual void visit_parameters(ParameterVisitor visit) = 0;
  // ΔW (out, in), computed in f64 from the layer's formula. Static layers only.
  virtual Tensor merged() const = 0;
  virtual const AdapterSpec& spec() const = 0;
};

// A fresh layer whose update is zero. Parameters are f32 leaves. `index` tells the model's layers apart in random
// streams.
std::unique_ptr<MoRALayer> make_layer(const AdapterSpec& spec, int64_t in, int64_t out, uint64_t seed, uint64_t index);

}  // namespace mora
