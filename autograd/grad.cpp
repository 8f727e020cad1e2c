#include "autograd/grad.h"

#include <algorithm>

#include "autograd/ops/arithmetic.h"
#include "autograd/ops/shape.h"
#include "kernels/binary.h"
#include "kernels/copy.h"

namespace mora {

// One backward pass. Nodes are visited from the newest to the oldest: an op is always newer than those of its inputs,
// so sorting by sequence is a topological order, and no recursion is needed.
class Backward {
 public:
  Backward(std::span<const Tensor> outputs, std::span<const Tensor> inputs, const GradOptions& options)
      : outputs_(outputs), inputs_(inputs), options_(options) {
    static std::atomic<uint64_t> passes{0};
    mark_ = ++passes;
  }

  Tensors run(std::span<const Tensor> output_gradients) {
    collect();
    mark_needed();
    seed(output_gradients);
    for (size_t i = visits_.size(); i-- > 0;) visit(visits_[i]);
    return results();
  }

 private:
  struct Visit {
    Ref<Node> node;
    std::vector<Tensor> gradients;  // by output
    Need need;                      // by input
    bool needed = false;
    bool target = false;
  };

  // All nodes between outputs and inputs, oldest first. Nothing older than the oldest input can matter.
  void collect() {
    uint64_t oldest = UINT64_MAX;
    for (const Tensor& x : inputs_) {
      require<AutogradError>(requires_grad(x), "grad: an input {} does not require a gradient", x.shape());
      oldest = std::min(oldest, node_of(x)->sequence());
    }
    std::vector<Node*> stack, found;
    auto reach = [&](Node* node) {
      if (!node || node->sequence() < oldest || node->mark_ == mark_) return;
      node->mark_ = mark_;
      stack.push_back(node);
    };
    for (const Tensor& y : outputs_) {
      require<AutogradError>(requires_grad(y),
                             "grad: an output {} has no history: nothing it was computed from requires a gradient",
                             y.shape());
      reach(node_of(y));
    }
    while (!stack.empty()) {
      Node* node = stack.back();
      stack.pop_back();
      found.push_back(node);
      for (const Edge& edge : node->edges()) reach(edge.node.get());
    }
    std::sort(found.begin(), found.end(), [](const Node* a, const Node* b) { return a->sequence() < b->sequence(); });
    visits_.resize(found.size());
    for (size_t i = 0; i < found.size(); ++i) {
      found[i]->slot_ = uint32_t(i);
      visits_[i].node = Ref<Node>(found[i]);
    }
  }

  Visit* visit_of(const Node* node) { return node && node->mark_ == mark_ ? &visits_[node->slot_] : nullptr; }

  void mark_needed() {
    for (const Tensor& x : inputs_) {
      if (Visit* v = visit_of(node_of(x))) v->needed = v->target = true;
    }
    for (Visit& v : visits_) {  // oldest first: inputs are decided before their users
      const auto& edges = v.node->edges();
      for (size_t i = 0; i < edges.size(); ++i) {
        const Visit* input = visit_of(edges[i].node.get());
        if (input && input->needed) v.need.set(int(i));
      }
      v.needed = v.needed || v.need.any();
    }
  }

  void seed(std::span<const Tensor> output_gradients) {
    require<AutogradError>(output_gradients.empty() || output_gradients.size() == outputs_.size(),
                           "grad: {} output gradients for {} outputs", output_gradients.size(), outputs_.size());
    for (size_t i = 0; i < outputs_.size(); ++i) {
      const Tensor& y = outputs_[i];
      Tensor g;
      if (output_gradients.empty()) {
        require<AutogradError>(y.numel() == 1, "grad: output {} has {} elements; give its output gradient", y.shape(),
                               y.numel());
        g = Tensor::empty(y.meta());
        kernels::fill(g, 1.0);
      } else {
        g = output_gradients[i];
        if (!g.defined()) continue;
        require<AutogradError>(g.meta() == y.meta(), "grad: output gradient {} {} for an output {} {}",
                               name_of(g.dtype()), g.shape(), name_of(y.dtype()), y.shape());
      }
      // An output older than every input depends on none of them.
      if (Visit* v = visit_of(node_of(y))) accumulate(*v, y.node_output(), std::move(g));
    }
  }

  void accumulate(Visit& v, uint32_t output, Tensor g) {
    if (v.gradients.empty()) v.gradients.resize(v.node->outputs());
    Tensor& sum = v.gradients[output];
    if (!sum.defined()) {
      sum = std::move(g);
    } else if (!options_.create_graph && sum.is_contiguous() && sum.use_count() == 1 &&
               sum.storage()->use_count() == 1) {
      const Tensor addend = contiguous(g);
      kernels::axpy(addend, sum, 1.0);
    } else {
      sum = add(sum, g);
    }
  }

  void visit(Visit& v) {
    const bool arrived =
        std::any_of(v.gradients.begin(), v.gradients.end(), [](const Tensor& g) { return g.defined(); });
    if (!v.need.any() || !arrived) {
      if (!v.target) v.gradients.clear();
      return;
    }
    Tensors gradients = v.node->backward(v.gradients, v.need);
    const auto& edges = v.node->edges();
    invariant(gradients.size() == edges.size(), "{}: backward gave {} gradients for {} inputs", v.node->name(),
              gradients.size(), edges.size());
    if (!v.target) v.gradients.clear();
    for (size_t i = 0; i < edges.size(); ++i) {
      Visit* input = visit_of(edges[i].node.get());
      if (!input || !input->needed) continue;
      Tensor& g = gradients[i];
      if (!g.defined()) fail<AutogradError>("{}: no gradient for input {}", v.node->name(), i);
      const Meta expected = v.node->input_meta(int(i));
      invariant(g.shape() == expected.shape && g.dtype() == expected.dtype, "{}: gradient {} {} for input {} of {} {}",
                v.node->name(), g.shape(), name_of(g.dtype()), i, expected.shape, name_of(expected.dtype));
      accumulate(*input, edges[i].output, std::move(g));
    }
    if (!options_.create_graph && !options_.retain_graph) v.node->release_saved();
  }

  Tensors results() {
    Tensors result;
    result.reserve(inputs_.size());
    for (const Tensor& x : inputs_) {
      const Visit* v = visit_of(node_of(x));
      Tensor g = v && !v->gradients.empty() ? v->gradients[x.node_output()] : Tensor();
      if (!g.defined() && !options_.allow_unused)
        fail<AutogradError>("grad: the outputs do not depend on input {} {}", result.size(), x.shape());
      result.push_back(std::move(g));
    }
    return result;
  }

  std::span<const Tensor> outputs_;
  std::span<const Tensor> inputs_;
  const GradOptions& options_;
  uint64_t mark_;
  std::vector<Visit> visits_;
};

Tensors grad(std::span<const Tensor> outputs, std::span<const Tensor> inputs, const GradOptions& options,
             std::span<const Tensor> output_gradients) {
  GradMode mode(options.create_graph);
  return Backward(outputs, inputs, options).run(output_gradients);
}

Tensors differentiate(TensorFunction f, std::span<const Tensor> inputs, std::span<const Tensor> output_gradients,
                      Need need) {
  const bool record = grad_enabled();
  Tensors local(inputs.begin(), inputs.end()), wanted, outputs, gradients, found;
  {
    GradMode mode(true);
    for (size_t i = 0; i < local.size(); ++i) {
      if (!need[int(i)]) {
        if (!record && local[i].defined()) local[i] = local[i].detach();
        continue;
      }
      // A new node in between, so that the search stops here and not at what made the input.
      local[i] = record && requires_grad(inputs[i]) ? alias(inputs[i]) : leaf(inputs[i]);
      wanted.push_back(local[i]);
    }
    Tensors all = f(local);
    for (size_t o = 0; o < all.size(); ++o) {
      if (!all[o].defined() || !requires_grad(all[o]) || !output_gradients[o].defined()) continue;
      outputs.push_back(all[o]);
      gradients.push_back(output_gradients[o]);
    }
  }
  if (!outputs.empty())
    found = grad(outputs, wanted, {.create_graph = record, .retain_graph = record, .allow_unused = true}, gradients);
  Tensors result(inputs.size());
  for (size_t i = 0, w = 0; i < inputs.size(); ++i) {
    if (!need[int(i)]) continue;
    result[i] = found.empty() ? Tensor() : found[w];
    if (!result[i].defined())
      result[i] = Tensor::zeros(inputs[i].shape(), inputs[i].dtype(), inputs[i].device());  // f does not depend on it
    ++w;
  }
  return result;
}

}  // namespace mora
