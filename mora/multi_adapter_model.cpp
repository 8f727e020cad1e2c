#include "mora/multi_adapter_model.h"

#include "kernels/binary.h"
#include "kernels/copy.h"
#include "mora/adapter_directory.h"

namespace mora {
namespace {

// y = x·Wᵀ + b + f_a(x), a by row.  x (N, in), or of an embedding ids (N) → (N, out)
class MultiAdapterLinear final : public Linear {
 public:
  explicit MultiAdapterLinear(LinearSlot base) : base_(std::move(base)) {}

  void add(size_t adapter, std::unique_ptr<MoRALinear> linear) {
    if (adapters_.size() <= adapter) adapters_.resize(adapter + 1);
    adapters_[adapter] = std::move(linear);
  }

  Tensor forward(const Tensor& x, Context& context) const override {
    const std::vector<AdapterRows>& parts = context.adapter_rows;
    if (parts.size() <= 1) {
      const MoRALinear* only = parts.empty() ? nullptr : find(parts[0].adapter);
      return only ? only->forward(x, context) : base_->forward(x, context);
    }
    invariant(!grad_enabled(), "rows of several adapters: gradients are recorded");
    require<ShapeError>(parts.back().end == x.dim(0), "rows of several adapters: {} of {}", parts.back().end, x.dim(0));
    Tensor y = base_->forward(x, context);
    for (const AdapterRows& part : parts)
      if (const MoRALinear* adapted = find(part.adapter)) adapt(*adapted, rows(x, part), rows(y, part), context);
    return y;
  }
  const FrozenWeightPtr& frozen() const override { return base_->frozen(); }
  bool needs_all_tokens() const override { return true; }  // whose rows go by which adapter

 private:
  // Those of no module of this adapter have none.
  const MoRALinear* find(size_t adapter) const {
    return adapter < adapters_.size() ? adapters_[adapter].get() : nullptr;
  }

  static Tensor rows(const Tensor& x, const AdapterRows& part) {
    Shape shape = x.shape();
    shape[0] = part.end - part.begin;
    return x.alias(shape, x.strides(), x.offset() + part.begin * x.strides()[0]);
  }

  // y is x·Wᵀ + b: what the adapter adds is added, or the rows are computed anew where it is no addition to W.
  void adapt(const MoRALinear& linear, const Tensor& x, Tensor y, Context& context) const {
    const AdapterSpec::Kind kind = linear.layer().spec().kind;
    const bool replaces =
        linear.frozen() != base_->frozen() || kind == AdapterSpec::Kind::dora || kind == AdapterSpec::Kind::whole;
    if (replaces)
      kernels::copy(linear.forward(x, context), y);
    else
      kernels::axpy(linear.layer().update(x, context), y, 1.0);
  }

  LinearSlot base_;
  std::vector<std::unique_ptr<MoRALinear>> adapters_;  // by number; null: not on this linear
};

}  // namespace

size_t MultiAdapterModel::load(const std::filesystem::path& directory) {
  load_adapter(directory, model_);
  const size_t adapter = pooling_.size();
  for (auto& [path, linear] : model_.take_adapters()) {
    LinearSlot& slot = *model_.find(path)->slot;
    if (!dynamic_cast<MultiAdapterLinear*>(slot.get())) slot = std::make_unique<MultiAdapterLinear>(std::move(slot));
    static_cast<MultiAdapterLinear&>(*slot).add(adapter, std::move(linear));
  }
  pooling_.push_back(model_.classifier() ? std::optional(model_.pooling()) : std::nullopt);
  model_.remove_head();
  return adapter;
}

}  // namespace mora
