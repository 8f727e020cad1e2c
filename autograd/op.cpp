#include "autograd/op.h"

#include "kernels/copy.h"

namespace mora {

Saved::Saved(std::span<const Tensor> inputs, std::span<const Tensor> outputs, const Saves& saves, std::string_view op)
    : op_(op) {
  metas_.reserve(inputs.size());
  for (const Tensor& t : inputs) metas_.push_back(t.meta());
  auto keep = [](std::vector<Item>& items, std::span<const Tensor> from, uint64_t bits, bool with_history) {
    if (!bits) return;
    items.resize(from.size());
    for (size_t i = 0; i < from.size(); ++i) {
      if (!((bits >> std::min<size_t>(i, 63)) & 1u) || !from[i].defined()) continue;
      items[i] = {with_history ? from[i] : from[i].detach(), from[i].version()};
    }
  };
  keep(inputs_, inputs, saves.inputs, true);
  keep(outputs_, outputs, saves.outputs, false);  // with its history the node would own itself
}

const Tensor& Saved::checked(const Item& item, const char* what, int i) const {
  if (released_)
    fail<AutogradError>("{}: this graph was freed by an earlier backward; pass retain_graph to use it twice", op_);
  invariant(item.tensor.defined(), "{}: {} {} was not saved", op_, what, i);
  if (item.tensor.version() != item.version)
    fail<AutogradError>("{}: {} {} was written to after it was saved for the backward", op_, what, i);
  return item.tensor;
}

Tensor Saved::input(int i) const {
  if (released_)
    fail<AutogradError>("{}: this graph was freed by an earlier backward; pass retain_graph to use it twice", op_);
  invariant(size_t(i) < inputs_.size(), "{}: input {} was not saved", op_, i);
  return checked(inputs_[size_t(i)], "input", i);
}

Tensor Saved::output(int i) const {
  if (released_)
    fail<AutogradError>("{}: this graph was freed by an earlier backward; pass retain_graph to use it twice", op_);
  invariant(size_t(i) < outputs_.size(), "{}: output {} was not saved", op_, i);
  Tensor t = checked(outputs_[size_t(i)], "output", i).detach();
  if (uint32_t(i) < owner_->outputs() && grad_enabled()) t.set_node(Ref<RefCounted>(owner_), uint32_t(i));
  return t;
}

Tensors Saved::inputs() const {
  Tensors result;
  for (size_t i = 0; i < metas_.size(); ++i) result.push_back(input(int(i)));
  return result;
}

void Saved::release() {
  released_ = true;
  inputs_.clear();
  outputs_.clear();
}

namespace detail {

Tensor contiguous_copy(const Tensor& t) {
  Tensor result = Tensor::empty(t.meta());
  kernels::copy(t, result);
  return result;
}

}  // namespace detail
}  // namespace mora
