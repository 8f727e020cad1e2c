// How an op meets the tape.
//
// An op is a small struct of its constants with
//   static constexpr std::string_view name;
//   infer(const Meta&…)              the output's Meta (or an array of N, each optional): every check, no allocation
//   forward(const Tensor&…, Tensor&…)   calls the kernel; undefined where infer gave no Meta
//     or view(const Tensor&)            for an op that only looks at its input's storage in another way
//   vjp(const Saved&, const Tensor& gy, Need)   gradients of the inputs, in Tensor ops: it differentiates again
//     or vjp(const Saved&, std::span<const Tensor> gy, Need)   of several differentiable outputs, each undefined where
//                                               nothing arrived
//   composite(const Tensor&…)        the same function in plain ops: documentation, the tests' oracle, and the
//                                    derivative where vjp is missing
//
// forward and view get contiguous inputs unless the op says `static constexpr bool strided = true`. An op without vjp
// and composite says `using NotDifferentiable = void`. Only the first `differentiable_outputs` outputs (default: all)
// carry gradients; the others are hints for the backward. A vjp sees input(i) and output(i) only as far as `saves`
// names them. An op that saves all its inputs and costs one pass over memory says `static constexpr bool recomputed =
// true`: those that would save its output compute it again in the backward instead.
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
  Tensor input(int i) const;
  // Output i with its history (so that a second derivative passes through it).
  Tensor output(int i) const;
  Tensors inputs() const;
  void release();

 private:
  struct Item {
    Tensor tensor;  // undefined for an input that its own node computes again
    uint32_t version = 0;
  };
  bool recomputes(size_t i) const;
  Tensor checked(size_t item, bool exists, const char* what, int i) const;

  Node& owner_;
  std::vector<Item, Pooled<Item>> items_;  // inputs, where one of them is saved; then outputs
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
// Whether its vjp takes the gradients of several outputs.
template <class Op>
concept HasListVjp = requires(const Op& op, const Saved& saved, std::span<const Tensor> gy) {
  op.vjp(saved, gy, Need{});
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
constexpr bool is_recomputed() {
  if constexpr (requires { Op::recomputed; })
    return Op::recomputed;
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

// Outputs as `infer` gave them; undefined where it gave no Meta.
inline std::array<Tensor, 1> allocated(const Meta& meta) { return {Tensor::empty(meta)}; }
template <class M, size_t N>
std::array<Tensor, N> allocated(const std::array<M, N>& metas) {
  std::array<Tensor, N> out;
  for (size_t i = 0; i < N; ++i) {
    if constexpr (std::is_same_v<M, Meta>)
      out[i] = Tensor::empty(metas[i]);
    else if (metas[i])
      out[i] = Tensor::empty(*metas[i]);
  }
  return out;
}

Tensor contiguous_copy(const Tensor& t);

// An input as the op's kernel takes it: itself, or a contiguous copy.
template <class Op>
class Argument {
 public:
  explicit Argument(const Tensor& given) : given_(given) {
    if constexpr (!takes_strided<Op>()) {
      if (!given.is_contiguous()) copy_ = contiguous_copy(given);
    }
  }
  operator const Tensor&() const { return copy_.defined() ? copy_ : given_; }  // NOLINT(google-explicit-constructor)

 private:
  const Tensor& given_;
  Tensor copy_;
};

// Makes the first `count` of `out` the outputs of `node`.
void attach(Ref<RefCounted> node, std::span<Tensor> out, uint32_t count);

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
  bool recomputes_output() const override { return detail::is_recomputed<Op>(); }
  Tensor recomputed_output() override;

  Tensors backward(std::span<const Tensor> gy, Need need) override {
    recomputed_ = {};  // who read it came before
    if constexpr (detail::HasListVjp<Op>) {
      return op_.vjp(saved_, gy, need);
    } else if constexpr (detail::HasVjp<Op>) {
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
  Tensor recomputed_;
};

namespace detail {

template <class Op, size_t N>
void record(const Op& op, std::span<const Tensor> in, std::array<Tensor, N>& out) {
  static_assert(HasVjp<Op> || HasComposite<Op> || NotDifferentiable<Op>,
                "an op needs a vjp, a composite, or to say NotDifferentiable");
  static_assert(differentiable_outputs<Op>(N) == 1 || !HasVjp<Op> || HasListVjp<Op>,
                "the vjp takes the gradient of one output");
  if constexpr (!NotDifferentiable<Op>)
    attach(Ref<RefCounted>(new OpNode<Op>(op, in, out)), out, differentiable_outputs<Op>(N));
}

template <size_t N>
auto one_or_all(std::array<Tensor, N>& out) {
  if constexpr (N == 1)
    return std::move(out[0]);
  else
    return std::move(out);
}

}  // namespace detail

// Runs an op and records it where an input requires a gradient. Gives its output, or an array of them.
template <class Op, class... In>
auto apply(const Op& op, const In&... in) {
  const auto metas = op.infer(in.meta()...);
  std::array<Tensor, detail::output_count<std::remove_const_t<decltype(metas)>>> out;
  if constexpr (detail::IsView<Op>) {
    out[0] = op.view(detail::Argument<Op>(in)...);
  } else {
    out = detail::allocated(metas);
    std::apply([&](auto&... y) { op.forward(detail::Argument<Op>(in)..., y...); }, out);
  }
  if (grad_enabled() && (requires_grad(in) || ...)) detail::record(op, std::array<Tensor, sizeof...(In)>{in...}, out);
  return detail::one_or_all(out);
}

template <class Op>
Tensor OpNode<Op>::recomputed_output() {
  if constexpr (detail::is_recomputed<Op>()) {
    constexpr size_t arity = detail::Signature<decltype(&Op::infer)>::arity;
    static_assert(detail::saves_of<Op>().inputs == (uint64_t{1} << arity) - 1, "it is computed from what is saved");
    if (!recomputed_.defined()) {
      const NoGrad no_grad;
      const Tensors in = saved_.inputs();
      auto all = [&]<size_t... I>(std::index_sequence<I...>) { return apply(op_, in[I]...); }
      (std::make_index_sequence<arity>{});
      if constexpr (std::is_same_v<decltype(all), Tensor>)
        recomputed_ = std::move(all);
      else
        recomputed_ = std::move(all[0]);
    }
  }
  return recomputed_;
}

// The same for inputs in a list: of an op with as many, or of one that takes any number.
template <class Op>
auto apply_list(const Op& op, std::span<const Tensor> in) {
  using S = detail::Signature<decltype(&Op::infer)>;
  if constexpr (!S::variadic) {
    return [&]<size_t... I>(std::index_sequence<I...>) { return apply(op, in[I]...); }
    (std::make_index_sequence<S::arity>{});
  } else {
    std::vector<Meta> metas;
    Tensors arguments;
    for (const Tensor& t : in) {
      metas.push_back(t.meta());
      arguments.push_back(detail::Argument<Op>(t));
    }
    auto out = detail::allocated(op.infer(metas));
    if constexpr (std::tuple_size_v<decltype(out)> == 1)
      op.forward(arguments, out[0]);
    else
      op.forward(arguments, std::span<Tensor>(out));
    if (grad_enabled() && std::any_of(in.begin(), in.end(), requires_grad)) detail::record(op, in, out);
    return detail::one_or_all(out);
  }
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
