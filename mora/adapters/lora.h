// LoRA: Hu et al. 2021, "LoRA: Low-Rank Adaptation of Large Language Models".
#pragma once

#include <optional>

#include "mora/adapters/factorized_init.h"
#include "mora/adapters/mora_layer.h"

namespace mora {

// ΔW = s·B·A with A (r, in), B (out, r); s = α/r, or α/√r (rsLoRA). B = 0 at the start. PiSSA and OLoRA start at A₀, B₀
// taken from W and run on W − s·B₀A₀: ΔW = s·(B·A − B₀·A₀).
class LoRA : public MoRALayer {
 public:
  // A ~ U(−1/√in, 1/√in), which is Kaiming's uniform with a = √5, or N(0, 1/r).
  LoRA(AdapterSpec spec, int64_t in, int64_t out, uint64_t seed, uint64_t index);
  // From trained tensors: A (r, in), B (out, r), floating. spec.rank is the r of the scaling. `origin`: A₀ and B₀.
  LoRA(AdapterSpec spec, Tensor a, Tensor b, uint64_t index, std::optional<LoraFactors> origin = {});

  Tensor update(const Tensor& x, Context& context) const override;
  std::optional<AdaptedTerm> term(const FrozenWeightPtr& w, DType dtype, const Context& context) const override;
  void visit_parameters(ParameterVisitor visit) override {
    visit("lora_A", a_);
    visit("lora_B", b_);
  }
  void visit_constants(ParameterVisitor visit) override {
    if (!origin_) return;
    visit("origin_A", origin_->a);
    visit("origin_B", origin_->b);
  }
  Tensor base_shift() const override;
  Tensor merged() const override;
  LowRank as_low_rank() const override;
  int64_t rank() const override { return a_.dim(0); }
  const AdapterSpec& spec() const override { return spec_; }
  virtual double scaling() const;  // s

  // A component is a row of A with a column of B (and an entry of AdaLoRA's E). Keeps those of `kept`, rising, and adds
  // `added` ones that leave the function as it is, their free values from `stream`. The scaling stays.
  virtual void resize(std::span<const int64_t> kept, int64_t added, const RandomStream& stream);
  bool has_origin() const { return origin_.has_value(); }

 protected:
  const Tensor& a() const { return a_; }
  const Tensor& b() const { return b_; }
  virtual Tensor factor_a() const { return a_; }  // what stands for A in the product
  void replace(const Tensor& a, const Tensor& b);
  Tensor dropped(const Tensor& x, const Context& context) const;  // x as the adapter sees it in training
  bool drops(const Context& context) const { return context.training && spec_.dropout > 0; }

 private:
  AdapterSpec spec_;
  uint64_t index_;
  Tensor a_, b_;
  std::optional<LoraFactors> origin_;
};

// s of the spec: α/r, or α/√r.
double lora_scaling(const AdapterSpec& spec);
// Rows of A of init default or gaussian.
void fill_lora_a(std::span<float> values, const AdapterSpec& spec, int64_t in, const RandomStream& stream);
// The stream's normal numbers from its `first` on, times `deviation`, in f32.
Tensor normal_tensor(const Shape& shape, double deviation, const RandomStream& stream, uint64_t first = 0);
// A (rows, in), in f32.
Tensor fresh_lora_a(const AdapterSpec& spec, const Shape& shape, uint64_t seed, uint64_t index);

// The dimension of a LoRA's parameter that runs over components; nothing for DoRA's magnitudes.
std::optional<int> component_dimension(std::string_view name);
// The entries `kept` along `dim`, then `added` zeros.
Tensor select_components(const Tensor& t, int dim, std::span<const int64_t> kept, int64_t added);

// LoRA with A and B taken from the weight: spec.init is pissa or olora.
std::unique_ptr<LoRA> factorized_lora(const AdapterSpec& spec, const Tensor& weight, uint64_t seed, uint64_t index);

}  // namespace mora
