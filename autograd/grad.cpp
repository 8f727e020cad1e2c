#include "autograd/grad.h"

#include <algorithm>

#include "autograd/op.h"
#include "autograd/ops/arithmetic.h"
#include "autograd/ops/shape.h"
#include "kernels/binary.h"
#include "kernels/copy.h"

namespace mora {

// One backward pass. Nodes are visited from the newest to the oldest: an op is always newer than those of its inputs,
// so sorting by sequence is a topological order, and no recursion is needed.
//
// Nothing older than `horizon` is walked through: what the pass is asked for is at least as old, or is an end of it.
class Backward {
 public:
  Backward(std::span<const Tensor> outputs, std::span<const Tensor> inputs, std::span<const Node::Input> captured,
           uint64_t horizon, const GradOptions& options)
      : outputs_(outputs), inputs_(inputs), captured_(captured), horizon_(horizon), options_(options) {
    static std::atomic<uint64_t> passes{0};
    mark_ = ++passes;
  }
  ~Backward() {
    for (const Visit& v : visits_) {
      v.node->mark_ = v.outer_mark;
      v.node->slot_ = v.outer_slot;
    }
  }
  Backward(const Backward&) = delete;
  Backward& operator=(const Backward&) = delete;

  // The gradients of the inputs, then those of what was captured.
  Tensors run(std::span<const Tensor> output_gradients) {
    collect();
    mark_needed();
    seed(output_gradients);
    for (Visit& v : visits_) visit(v);
    return results();
  }

 private:
  // The outputs' handles keep the nodes alive.
  struct Visit {
    Node* node;
    uint64_t outer_mark;  // the notes of a pass around this one
    uint32_t outer_slot;
    uint32_t first = 0;  // of its outputs' places in gradients_
    Need need;           // by input
    bool needed = false;
    bool target = false;
  };

  void for_each_target(auto&& f) {
    for (const Tensor& x : inputs_) f(node_of(x), x.node_output());
    for (const Node::Input& x : captured_) f(x.edge.node.get(), x.edge.output);
  }

  void add(Node* node) {
    if (node->mark_ == mark_) return;
    visits_.push_back({.node = node, .outer_mark = node->mark_, .outer_slot = node->slot_, .need = {}});
    node->mark_ = mark_;
  }

  // All nodes between outputs and targets, newest first, and the places of their gradients.
  void collect() {
    auto reach = [&](Node* node) {
      if (node && node->sequence() >= horizon_) add(node);
    };
    for_each_target([&](Node* node, uint32_t) {
      if (node->sequence() < horizon_) add(node);
    });
    for (const Tensor& y : outputs_) reach(node_of(y));
    for (size_t i = 0; i < visits_.size(); ++i) {
      const Node* node = visits_[i].node;
      if (node->sequence() < horizon_) continue;
      for (const Node::Input& input : node->inputs()) reach(input.edge.node.get());
    }
    std::sort(visits_.begin(), visits_.end(),
              [](const Visit& a, const Visit& b) { return a.node->sequence() > b.node->sequence(); });
    uint32_t places = 0;
    for (size_t i = 0; i < visits_.size(); ++i) {
      visits_[i].node->slot_ = uint32_t(i);
      visits_[i].first = places;
      places += visits_[i].node->outputs();
    }
    gradients_.resize(places);
  }

  Visit* visit_of(const Node* node) { return node && node->mark_ == mark_ ? &visits_[node->slot_] : nullptr; }

  void mark_needed() {
    for_each_target([&](Node* node, uint32_t) {
      if (Visit* v = visit_of(node)) v->needed = v->target = true;
    });
    for (size_t k = visits_.size(); k-- > 0;) {  // oldest first: inputs are decided before their users
      Visit& v = visits_[k];
      if (v.node->sequence() < horizon_) continue;
      const auto& inputs = v.node->inputs();
      for (size_t i = 0; i < inputs.size(); ++i) {
        const Visit* input = visit_of(inputs[i].edge.node.get());
        if (input && input->needed) v.need.set(int(i));
      }
      v.needed = v.needed || v.need.any();
    }
  }

  void seed(std::span<const Tensor> output_gradients) {
    for (size_t i = 0; i < outputs_.size(); ++i) {
      const Tensor& y = outputs_[i];
      Tensor g = output_gradients.empty() ? full_like(y, 1, y.shape()) : output_gradients[i];
      // An output older than every target depends on none of them.
      if (Visit* v = visit_of(node_of(y)); v && g.defined()) accumulate(*v, y.node_output(), std::move(g));
    }
  }

  void accumulate(const Visit& v, uint32_t output, Tensor g) {
    Tensor& sum = gradients_[v.first + output];
    if (!sum.defined()) {
      sum = std::move(g);
    } else if (!options_.create_graph && sum.is_contiguous() && sum.use_count() == 1 &&
               sum.storage()->use_count() == 1) {
      kernels::axpy(contiguous(g), sum, 1.0);
    } else {
      sum = mora::add(sum, g);
    }
  }

  void visit(const Visit& v) {
    const std::span<Tensor> arrived(gradients_.data() + v.first, v.node->outputs());
    const bool any = std::any_of(arrived.begin(), arrived.end(), [](const Tensor& g) { return g.defined(); });
    Tensors gradients;
    if (any && v.need.any()) gradients = v.node->backward(arrived, v.need);
    if (!v.target) std::fill(arrived.begin(), arrived.end(), Tensor());
    if (gradients.empty()) return;

    const auto& inputs = v.node->inputs();
    invariant(gradients.size() == inputs.size(), "backward gave {} gradients for {} inputs", gradients.size(),
              inputs.size());
    for (size_t i = 0; i < inputs.size(); ++i) {
      const Visit* input = visit_of(inputs[i].edge.node.get());
      if (!input || !input->needed) continue;
      Tensor& g = gradients[i];
      check_fits(g, *v.node, i);
      accumulate(*input, inputs[i].edge.output, std::move(g));
    }
    if (!options_.create_graph && !options_.retain_graph) v.node->release_saved();
  }

  static void check_fits(const Tensor& g, const Node& node, size_t i) {
    if (!g.defined()) fail<AutogradError>("{}: no gradient for input {}", node.name(), i);
    const Meta& expected = node.inputs()[i].meta;
    if (g.shape() != expected.shape || g.dtype() != expected.dtype)
      invariant(false, "{}: gradient {} {} for input {} of {} {}", node.name(), g.shape(), name_of(g.dtype()), i,
                expected.shape, name_of(expected.dtype));
  }

  Tensors results() {
    Tensors result;
    result.reserve(inputs_.size() + captured_.size());
    for_each_target([&](Node* node, uint32_t output) {
      const Visit* v = visit_of(node);
      result.push_back(v ? gradients_[v->first + output] : Tensor());
    });
    return result;
  }

  std::span<const Tensor> outputs_;
  std::span<const Tensor> inputs_;
  std::span<const Node::Input> captured_;
  uint64_t horizon_;
  const GradOptions& options_;
  uint64_t mark_;
  std::vector<Visit, Pooled<Visit>> visits_;
  std::vector<Tensor, Pooled<Tensor>> gradients_;
};

namespace {

void check_outputs(std::span<const Tensor> outputs, std::span<const Tensor> gradients) {
  require<AutogradError>(gradients.empty() || gradients.size() == outputs.size(),
                         "grad: {} output gradients for {} outputs", gradients.size(), outputs.size());
  for (size_t i = 0; i < outputs.size(); ++i) {
    const Tensor& y = outputs[i];
    require<AutogradError>(requires_grad(y),
                           "grad: output {} has no history: nothing it was computed from requires a gradient", i);
    if (gradients.empty())
      require<AutogradError>(y.numel() == 1, "grad: output {} {} has {} elements; give its output gradient", i,
                             y.shape(), y.numel());
    else if (const Tensor& g = gradients[i]; g.defined())
      require<AutogradError>(g.shape() == y.shape() && g.dtype() == y.dtype(),
                             "grad: output gradient {} {} for output {} {} {}", name_of(g.dtype()), g.shape(), i,
                             name_of(y.dtype()), y.shape());
  }
}

bool is_alone(const Tensor& t) { return t.is_contiguous() && t.use_count() == 1 && t.storage()->use_count() == 1; }

}  // namespace

Tensors grad(std::span<const Tensor> outputs, std::span<const Tensor> inputs, const GradOptions& options,
             std::span<const Tensor> output_gradients) {
  check_outputs(outputs, output_gradients);
  uint64_t oldest = UINT64_MAX;
  for (size_t i = 0; i < inputs.size(); ++i) {
    require<AutogradError>(requires_grad(inputs[i]), "grad: input {} does not require a gradient", i);
    oldest = std::min(oldest, node_of(inputs[i])->sequence());
  }
  GradMode mode(options.create_graph);
  Tensors result = Backward(outputs, inputs, {}, oldest, options).run(output_gradients);
  for (size_t i = 0; i < result.size(); ++i) {
    if (!result[i].defined()) {
      require<AutogradError>(options.allow_unused, "grad: the outputs do not depend on input {} {}", i,
                             inputs[i].shape());
    } else if (!options.create_graph && !is_alone(result[i])) {
      result[i] = detail::contiguous_copy(result[i]);
    }
  }
  return result;
}

Tensors differentiate(TensorFunction f, std::span<const Tensor> inputs, std::span<const Tensor> output_gradients,
                      Need need, std::span<const Node::Input> captured) {
  const bool record = grad_enabled();
  const uint64_t horizon = Node::next_sequence();
  Tensors local(inputs.begin(), inputs.end()), wanted, outputs, gradients;
  {
    GradMode mode(true);
    for (size_t i = 0; i < local.size(); ++i) {
      if (!need[int(i)]) {
        if (!record) local[i] = local[i].detach();
        continue;
      }
      // A node for each place, also where one tensor stands in two.
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
  const GradOptions options{.create_graph = record, .retain_graph = record};
  const Tensors found = Backward(outputs, wanted, captured, horizon, options).run(gradients);

  Tensors result(inputs.size() + captured.size());
  auto or_zeros = [](const Tensor& g, const Meta& meta) {  // where f does not depend on it
    return g.defined() ? g : Tensor::zeros(meta.shape, meta.dtype, meta.device);
  };
  size_t next = 0;
  for (size_t i = 0; i < inputs.size(); ++i) {
    if (need[int(i)]) result[i] = or_zeros(found[next++], inputs[i].meta());
  }
  for (size_t i = 0; i < captured.size(); ++i) result[inputs.size() + i] = or_zeros(found[next++], captured[i].meta);
  return result;
}

}  // namespace mora
