// How an op meets the tape.
//
// An op is a small struct of its constants with
//   static constexpr std::string_view name;
//   infer(const Meta&…)              the output's Meta (or an array of N, each optional): every check, no allocation
//   forward(const Tensor&…, Tensor&…)   calls the kernel; undefined where infer gave no Meta
//     or view(const Tensor&)            for an op that only looks at its input's storage in another way
//   vjp(const Saved&, const Tensor& gy, Need)   gradients of the inputs, in Tensor ops, so that it differentiates again
//   composite(const Tensor&…)        the same function in plain ops: documentation, the tests' oracle, and the
//                                    derivative where vjp is missing
//
// forward and view get contiguous inputs unless the op says `static constexpr bool strided = true`. An op without vjp
// and composite says `using NotDifferentiable = void`. Only the first `differentiable_outputs` outputs (default: all;
// one for an op with a vjp) carry gradients; the others are hints for the backward. A vjp sees input(i) and output(i)
// only as far as `saves` names them.
#pragma once

#include <array>
#include <optional>

#include "autograd/grad.h"

namespace mora {

// Bits of the inputs and outputs a vjp reads.
struct Saves {
  uint64_t inputs = 0;
  uint64_t outputs = 0;
};

// What a node keeps for its backward.
class Saved {
 public:
  // For `owner`, which owns this and is not counted.
  Saved(Node& owner, std::span<const Tensor> inputs, std::span<const Tensor> outputs, const Saves& saves);
  int arity() const { return int(owner_.inputs().size()); }
  const Meta& meta(int i) const { return owner_.inputs()[size_t(i)].meta; }  // of input i, saved or not
  Tensor input(int i) const { return checked(size_t(i), size_t(i) < outputs_from_, "input", i); }
  // Output i with its history (so that a second derivative passes through it).
  Tensor output(int i) const;
  Tensors inputs() const;
  void release();

 private:
  struct Item {
    Tensor tensor;
    uint32_t version = 0;
  };
  Tensor checked(size_t item, bool exists, const char* what, int i) const;

  Node& owner_;
  std::vector<Item> items_;  // inputs, where one of them is saved; then outputs
  size_t outputs_from_ = 0;
  bool released_ = false;
};

namespace detail {

template <class M>
struct Signature;
template <class R, class C, class... A>
struct Signature<R (C::*)(A...) const> {
  using Result = R;
  static constexpr size_t arity = sizeof...(A);
  static constexpr bool variadic = arity == 1 && (std::is_same_v<std::remove_cvref_t<A>, std::span<const Meta>> && ...);
};

template <class T>
inline constexpr size_t output_count = 1;
template <class M, size_t N>
inline constexpr size_t output_count<std::array<M, N>> = N;

template <class Op>
concept IsView = requires {
  &Op::view;
};
template <class Op>
concept HasVjp = requires {
  &Op::vjp;
};
template <class Op>
concept HasComposite = requires {
  &Op::composite;
};
template <class Op>
concept NotDifferentiable = requires {
  typename Op::NotDifferentiable;
};

template <class Op>
constexpr Saves saves_of() {
  if constexpr (requires { Op::saves; })
    return Op::saves;
  else if constexpr (HasVjp<Op>)
    return {};
  else
    return {.inputs = ~uint64_t{0}, .outputs = 0};
}
template <class Op>
constexpr bool takes_strided() {
  if constexpr (requires { Op::strided; })
    return Op::strided;
  else
    return false;
}

template <class Op>
constexpr uint32_t differentiable_outputs(uint32_t outputs) {
  if constexpr (requires { Op::differentiable_outputs; })
    return Op::differentiable_outputs;
  else
    return outputs;
}

inline const Meta& meta_value(const Meta& m) { return m; }
inline const Meta& meta_value(const std::optional<Meta>& m) { return *m; }
inline bool has_meta(const Meta&) { return true; }
inline bool has_meta(const std::optional<Meta>& m) { return m.has_value(); }

Tensor contiguous_copy(const Tensor& t);
// `in`, or a copy in `storage` of which each is contiguous.
std::span<const Tensor> contiguous(std::span<const Tensor> in, Tensors& storage);
bool any_requires_grad(std::span<const Tensor> tensors);
// Makes the first of `out` the outputs of `node`.
void attach(Ref<RefCounted> node, std::span<Tensor> out);

}  // namespace detail

template <class Op>
class OpNode final : public Node {
 public:
  OpNode(const Op& op, std::span<const Tensor> in, std::span<const Tensor> out)
      : Node(detail::differentiable_outputs<Op>(uint32_t(out.size())), inputs_of(in)),
        op_(op),
        saved_(*this, in, out, detail::saves_of<Op>()) {}
  std::string_view name() const override { return Op::name; }
  void release_saved() override { saved_.release(); }

  Tensors backward(std::span<const Tensor> gy, Need need) override {
    if constexpr (detail::HasVjp<Op>) {
      return op_.vjp(saved_, gy[0], need);
    } else {
      const Tensors inputs = saved_.inputs();
      auto f = [this](std::span<const Tensor> in) { return composite_of(op_, in); };
      return differentiate(f, inputs, gy, need);
    }
  }

  // The op's composite over a list of inputs, its outputs as a list.
  static Tensors composite_of(const Op& op, std::span<const Tensor> in) {
    using S = detail::Signature<decltype(&Op::infer)>;
    auto list = [](auto&& result) -> Tensors {
      if constexpr (std::is_same_v<std::remove_cvref_t<decltype(result)>, Tensor>)
        return {std::move(result)};
      else
        return Tensors(result.begin(), result.end());
    };
    if constexpr (S::variadic)
      return list(op.composite(in));
    else
      return [&]<size_t... I>(std::index_sequence<I...>) { return list(op.composite(in[I]...)); }
    (std::make_index_sequence<S::arity>{});
  }

 private:
  Op op_;
  Saved saved_;
};

// Runs an op on a list of inputs and records it where an input requires a gradient. Gives its outputs.
template <class Op>
auto apply_list(const Op& op, std::span<const Tensor> in) {
  static_assert(detail::HasVjp<Op> || detail::HasComposite<Op> || detail::NotDifferentiable<Op>,
                "an op needs a vjp, a composite, or to say NotDifferentiable");
  using S = detail::Signature<decltype(&Op::infer)>;
  constexpr size_t N = detail::output_count<typename S::Result>;
  std::array<Tensor, N> out;

  auto infer = [&] {
    if constexpr (S::variadic) {
      std::vector<Meta> metas;
      for (const Tensor& t : in) metas.push_back(t.meta());
      return op.infer(metas);
    } else {
      return [&]<size_t... I>(std::index_sequence<I...>) { return op.infer(in[I].meta()...); }
      (std::make_index_sequence<S::arity>{});
    }
  };
  const auto metas = infer();
  Tensors copies;
  const std::span<const Tensor> args = detail::takes_strided<Op>() ? in : detail::contiguous(in, copies);
  if constexpr (detail::IsView<Op>) {
    out[0] = op.view(args[0]);
  } else {
    if constexpr (N == 1 && !requires { metas[0]; }) {
      out[0] = Tensor::empty(metas);
    } else {
      for (size_t i = 0; i < N; ++i) {
        if (detail::has_meta(metas[i])) out[i] = Tensor::empty(detail::meta_value(metas[i]));
      }
    }
    [&]<size_t... O>(std::index_sequence<O...>) {
      if constexpr (S::variadic)
        op.forward(args, out[O]...);
      else
        [&]<size_t... I>(std::index_sequence<I...>) { op.forward(args[I]..., out[O]...); }
      (std::make_index_sequence<S::arity>{});
    }
    (std::make_index_sequence<N>{});
  }

  if constexpr (!detail::NotDifferentiable<Op>) {
    static_assert(detail::differentiable_outputs<Op>(N) == 1 || !detail::HasVjp<Op>,
                  "a vjp takes the gradient of one output");
    if (grad_enabled() && detail::any_requires_grad(in))
      detail::attach(Ref<RefCounted>(new OpNode<Op>(op, in, out)),
                     std::span(out).first(detail::differentiable_outputs<Op>(N)));
  }
  if constexpr (N == 1)
    return std::move(out[0]);
  else
    return out;
}

template <class Op, class... In>
auto apply(const Op& op, const In&... in) {
  const std::array<Tensor, sizeof...(In)> list{in...};
  return apply_list(op, std::span<const Tensor>(list));
}

// The backward of a fused op as the derivative of that op's composite: the composite of every fused backward.
template <class Op, class... In>
Tensors composite_backward(const Op& op, const Tensor& gy, Need need, const In&... in) {
  const std::array<Tensor, sizeof...(In)> list{in...};
  auto f = [&op](std::span<const Tensor> inputs) { return OpNode<Op>::composite_of(op, inputs); };
  const Tensor gradients[] = {gy};
  return differentiate(f, list, gradients, need);
}

}  // namespace mora
