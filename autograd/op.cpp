#include "autograd/op.h"

#include "kernels/copy.h"

namespace mora {

Saved::Saved(Node& owner, std::span<const Tensor> inputs, std::span<const Tensor> outputs, const Saves& saves)
    : owner_(owner) {
  if (saves.inputs) outputs_from_ = inputs.size();
  items_.resize(outputs_from_ + (saves.outputs ? outputs.size() : 0));
  auto wanted = [](uint64_t bits, size_t i) { return (bits >> std::min<size_t>(i, 63)) & 1u; };
  for (size_t i = 0; i < outputs_from_; ++i) {
    if (wanted(saves.inputs, i) && !recomputes(i)) items_[i] = {inputs[i], inputs[i].version()};
  }
  for (size_t i = 0; outputs_from_ + i < items_.size(); ++i) {  // with its history the node would own itself
    if (wanted(saves.outputs, i) && outputs[i].defined())
      items_[outputs_from_ + i] = {outputs[i].detach(), outputs[i].version()};
  }
}

bool Saved::recomputes(size_t i) const {
  const Edge& edge = owner_.inputs()[i].edge;
  return edge.node && edge.output == 0 && edge.node->recomputes_output();
}

Tensor Saved::input(int i) const {
  const bool exists = size_t(i) < outputs_from_;
  if (released_ || !exists || items_[size_t(i)].tensor.defined() || !recomputes(size_t(i)))
    return checked(size_t(i), exists, "input", i);
  const Ref<Node>& node = owner_.inputs()[size_t(i)].edge.node;
  Tensor t = node->recomputed_output().detach();
  if (grad_enabled()) t.set_node(Ref<RefCounted>(node.get()), 0);
  return t;
}

Tensor Saved::checked(size_t item, bool exists, const char* what, int i) const {
  if (released_)
    fail<AutogradError>("{}: this graph was freed by an earlier backward; pass retain_graph to use it twice",
                        owner_.name());
  invariant(exists && items_[item].tensor.defined(), "{}: {} {} was not saved", owner_.name(), what, i);
  if (items_[item].tensor.version() != items_[item].version)
    fail<AutogradError>("{}: {} {} was written to after it was saved for the backward", owner_.name(), what, i);
  return items_[item].tensor;
}

Tensor Saved::output(int i) const {
  const size_t item = outputs_from_ + size_t(i);
  Tensor t = checked(item, item < items_.size(), "output", i).detach();
  if (uint32_t(i) < owner_.outputs() && grad_enabled()) t.set_node(Ref<RefCounted>(&owner_), uint32_t(i));
  return t;
}

Tensors Saved::inputs() const {
  Tensors result;
  for (int i = 0; i < arity(); ++i) result.push_back(input(i));
  return result;
}

void Saved::release() {
  released_ = true;
  items_.clear();
}

namespace detail {

Tensor contiguous_copy(const Tensor& t) { return kernels::copied(t); }

void attach(Ref<RefCounted> node, std::span<Tensor> out, uint32_t count) {
  for (uint32_t i = 0; i < count; ++i) {
    if (out[i].defined()) out[i].set_node(node, i);
  }
}

}  // namespace detail
}  // namespace mora
