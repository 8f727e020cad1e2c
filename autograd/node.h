// The tape: one node a recorded op, edges to the nodes that made its inputs.
#pragma once

#include <algorithm>
#include <string_view>
#include <vector>

#include "engine/tensor.h"

namespace mora {

class Node;

// Where the gradient of an input goes: output `output` of `node`; null for an input that needs none.
struct Edge {
  Ref<Node> node;
  uint32_t output = 0;
};

// Which inputs' gradients are wanted, by position. The 64th and those after it share a bit: all of them or none.
struct Need {
  uint64_t bits = 0;
  bool operator[](int i) const { return (bits >> std::min(i, 63)) & 1u; }
  void set(int i) { bits |= uint64_t{1} << std::min(i, 63); }
  bool any() const { return bits != 0; }
};

// One recorded op. Of one graph, one backward pass at a time: passes use the nodes for their notes (a pass inside
// another, as recomputation runs, gives the notes back).
class Node : public RefCounted {
 public:
  struct Input {
    Edge edge;
    Meta meta;  // shape and dtype, which the gradient has too
  };

  using Inputs = std::vector<Input, Pooled<Input>>;

  Node(uint32_t outputs, Inputs inputs);

  virtual std::string_view name() const = 0;
  // Gradients of the inputs from those of the outputs (undefined where nothing arrived); undefined where not needed.
  virtual Tensors backward(std::span<const Tensor> output_gradients, Need need) = 0;
  // Lets go of what was saved for backward; a later backward throws AutogradError.
  virtual void release_saved() = 0;
  // Whether output 0 is computed again, to the same bits, rather than saved by those who need it in their backward. The
  // result stays with the node until its own backward.
  virtual bool recomputes_output() const { return false; }
  virtual Tensor recomputed_output() { return {}; }

  uint64_t sequence() const { return sequence_; }  // rises with creation: an input's node is always older
  static uint64_t next_sequence();                 // no node made so far has it or a greater one
  uint32_t outputs() const { return outputs_; }
  const Inputs& inputs() const { return inputs_; }

 protected:
  // Chains of nodes end one after the other, not by recursion: a graph of a million ops must not overflow the stack.
  void dispose() override;

 private:
  friend class Backward;
  uint64_t sequence_;
  uint32_t outputs_;
  uint32_t slot_ = 0;  // the notes of a backward pass: the position in its list,
  uint64_t mark_ = 0;  // valid when this is the pass's number
  Inputs inputs_;
};

inline Node* node_of(const Tensor& t) { return static_cast<Node*>(t.node().get()); }
Node::Inputs inputs_of(std::span<const Tensor> tensors);

// True where the tensor is a leaf made by `leaf` or was computed from one.
inline bool requires_grad(const Tensor& t) { return t.defined() && bool(t.node()); }
// The same values as a new leaf: a tensor that gradients can be asked for.
Tensor leaf(const Tensor& t);

// Whether ops are recorded on this thread (true at first).
bool grad_enabled();
class GradMode {  // sets the mode for a scope
 public:
  explicit GradMode(bool enabled);
  ~GradMode();
  GradMode(const GradMode&) = delete;
  GradMode& operator=(const GradMode&) = delete;

 private:
  bool before_;
};
struct NoGrad : GradMode {
  NoGrad() : GradMode(false) {}
};

}  // namespace mora
