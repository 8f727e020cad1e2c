#include "autograd/recompute.h"

#include <algorithm>
#include <unordered_set>

#include "autograd/op.h"

namespace mora {
namespace {

using Function = std::function<Tensors(std::span<const Tensor>)>;

// Where the graph of `outputs` since `horizon` leaves what is newer: the tensors that a function read on its own.
Node::Inputs ends_before(uint64_t horizon, std::span<const Tensor> outputs) {
  Node::Inputs reached, ends;
  std::unordered_set<const Node*> seen;
  for (Node::Input& y : inputs_of(outputs)) reached.push_back(std::move(y));
  while (!reached.empty()) {
    const Node::Input input = std::move(reached.back());
    reached.pop_back();
    const Node* node = input.edge.node.get();
    if (!node) continue;
    if (node->sequence() >= horizon) {
      if (seen.insert(node).second) reached.insert(reached.end(), node->inputs().begin(), node->inputs().end());
    } else if (std::none_of(ends.begin(), ends.end(), [&](const Node::Input& end) {
                 return end.edge.node == input.edge.node && end.edge.output == input.edge.output;
               })) {
      ends.push_back(input);
    }
  }
  return ends;
}

Node::Inputs joined(Node::Inputs inputs, const Node::Inputs& more) {
  inputs.insert(inputs.end(), more.begin(), more.end());
  return inputs;
}

class RecomputeNode final : public Node {
 public:
  RecomputeNode(Function f, std::span<const Tensor> inputs, const Inputs& captured, uint32_t outputs)
      : Node(outputs, joined(inputs_of(inputs), captured)),
        f_(std::move(f)),
        given_(inputs.size()),
        saved_(*this, inputs, {}, {.inputs = ~uint64_t{0}, .outputs = 0}) {}

  std::string_view name() const override { return "recompute"; }
  void release_saved() override {
    saved_.release();
    f_ = nullptr;
  }
  Tensors backward(std::span<const Tensor> gy, Need need) override {
    Tensors given;
    for (size_t i = 0; i < given_; ++i) given.push_back(saved_.input(int(i)));
    return differentiate(f_, given, gy, need, std::span(inputs()).subspan(given_));
  }

 private:
  Function f_;
  size_t given_;
  Saved saved_;
};

}  // namespace

Tensors recompute(Function f, std::span<const Tensor> inputs) {
  if (!grad_enabled()) return f(inputs);
  // Recorded once, to see what f reads; the record goes with this scope.
  const uint64_t horizon = Node::next_sequence();
  Tensors local;
  for (const Tensor& x : inputs) local.push_back(requires_grad(x) ? leaf(x) : x);
  Tensors outputs = f(local);
  if (std::none_of(outputs.begin(), outputs.end(), requires_grad)) return outputs;

  const auto captured = ends_before(horizon, outputs);
  const Ref<RefCounted> node(new RecomputeNode(std::move(f), inputs, captured, uint32_t(outputs.size())));
  for (size_t i = 0; i < outputs.size(); ++i) {
    if (!requires_grad(outputs[i])) continue;
    outputs[i] = outputs[i].detach();
    outputs[i].set_node(node, uint32_t(i));
  }
  return outputs;
}

}  // namespace mora
