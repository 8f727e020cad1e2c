#include "autograd/node.h"

namespace mora {
namespace {

std::atomic<uint64_t> sequence_counter{1};
thread_local bool grad_enabled_ = true;

// A leaf has no inputs; gradients end here.
class LeafNode final : public Node {
 public:
  LeafNode() : Node(1, {}) {}
  std::string_view name() const override { return "leaf"; }
  Tensors backward(std::span<const Tensor>, Need) override { return {}; }
  void release_saved() override {}
};

}  // namespace

Node::Node(uint32_t outputs, Inputs inputs)
    : sequence_(sequence_counter.fetch_add(1, std::memory_order_relaxed)),
      outputs_(outputs),
      inputs_(std::move(inputs)) {}

uint64_t Node::next_sequence() { return sequence_counter.load(std::memory_order_relaxed); }

void Node::dispose() {
  thread_local std::vector<Node*> pending;
  thread_local bool draining = false;
  pending.push_back(this);
  if (draining) return;
  draining = true;
  while (!pending.empty()) {
    Node* node = pending.back();
    pending.pop_back();
    delete node;  // its edges and saved tensors may bring more into `pending`
  }
  draining = false;
}

Node::Inputs inputs_of(std::span<const Tensor> tensors) {
  Node::Inputs inputs;
  inputs.reserve(tensors.size());
  for (const Tensor& t : tensors) inputs.push_back({{Ref<Node>(node_of(t)), t.node_output()}, t.meta()});
  return inputs;
}

Tensor leaf(const Tensor& t) {
  require<DTypeError>(is_floating(t.dtype()), "leaf: gradients need a floating dtype, not {}", name_of(t.dtype()));
  Tensor result = t.detach();
  result.set_node(Ref<RefCounted>(new LeafNode), 0);
  return result;
}

bool grad_enabled() { return grad_enabled_; }
GradMode::GradMode(bool enabled) : before_(grad_enabled_) { grad_enabled_ = enabled; }
GradMode::~GradMode() { grad_enabled_ = before_; }

}  // namespace mora
