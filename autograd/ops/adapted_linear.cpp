#include "autograd/ops/adapted_linear.h"

#include "autograd/ops/arithmetic.h"
#include "autograd/ops/matmul.h"
#include "autograd/ops/mora_operator.h"
#include "autograd/ops/shape.h"

namespace mora {

namespace ops {
namespace {

using Adapter = kernels::AdaptedLinear::Adapter;

size_t factors_of(Adapter adapter) { return adapter == Adapter::lora ? 2 : adapter == Adapter::mora ? 1 : 0; }

void check_lora(const Meta& x, const Meta& a, const Meta& b, const kernels::FrozenWeight& w) {
  require<ShapeError>(a.shape.rank() == 2 && a.shape[1] == w.in() && b.shape == Shape({w.out(), a.shape[0]}),
                      "lora_linear: x {}, A {}, B {} on W ({}, {})", x.shape, a.shape, b.shape, w.out(), w.in());
  require<DTypeError>(a.dtype == x.dtype && b.dtype == x.dtype, "lora_linear: x {}, A {}, B {}", name_of(x.dtype),
                      name_of(a.dtype), name_of(b.dtype));
}

void check_mora(const Meta& x, const Meta& m, const kernels::FrozenWeight& w, const MoraOperator& op) {
  require<ShapeError>(op.in == w.in() && op.out == w.out() && m.shape == Shape({op.rank, op.rank}),
                      "mora_linear: M {} with r̂ = {} on W ({}, {})", m.shape, op.rank, w.out(), w.in());
  require<DTypeError>(m.dtype == x.dtype, "mora_linear: x {}, M {}", name_of(x.dtype), name_of(m.dtype));
}

// A term in plain ops. `factors` are its own.
Tensor composed(const Tensor& x, const AdaptedTerm& term, std::span<const Tensor> factors) {
  const Tensor y = linear(x, term.w);
  const kernels::AdaptedLinear& l = term.linear;
  if (l.adapter == Adapter::lora)
    return y + mora::matmul(mora::matmul(x, factors[0], false, true) * l.scale, factors[1], false, true);
  if (l.adapter == Adapter::none) return y;
  const Tensor s = apply(MoraCompress{l.op}, x);
  const Tensor z = mora::matmul(mora::reshape(s, {-1, l.op.rank}), factors[0], false, true);
  return y + apply(MoraDecompress{l.op}, mora::reshape(z, s.shape()));
}

}  // namespace

size_t AdaptedLinears::factors() const {
  size_t count = 0;
  for (const AdaptedTerm& term : terms) count += factors_of(term.linear.adapter);
  return count;
}

std::vector<kernels::AdaptedLinear> AdaptedLinears::described(std::span<const Tensor> in) const {
  std::vector<kernels::AdaptedLinear> linears;
  size_t next = 1;
  for (const AdaptedTerm& term : terms) {
    kernels::AdaptedLinear& l = linears.emplace_back(term.linear);
    for (size_t j = 0; j < factors_of(l.adapter); ++j) l.factors[j] = in[next++];
  }
  return linears;
}

std::array<std::optional<Meta>, 2 * AdaptedLinears::most> AdaptedLinears::infer(std::span<const Meta> in) const {
  invariant(!terms.empty() && terms.size() <= most && in.size() == 1 + factors(),
            "adapted_linears: {} inputs for {} linears", in.size(), terms.size());
  const Meta& x = in[0];
  require<DTypeError>(is_floating(x.dtype), "adapted_linears: expected a floating dtype, not {}", name_of(x.dtype));
  std::array<std::optional<Meta>, 2 * most> out;
  size_t next = 1;
  for (size_t i = 0; i < terms.size(); ++i) {
    const auto& [w, l] = terms[i];
    require<ShapeError>(x.shape.rank() == 2 && x.shape[1] == w->in(), "adapted_linears: x {} against W {}", x.shape,
                        w->meta().shape);
    out[i] = Meta{{x.shape[0], w->out()}, x.dtype, x.device};
    if (l.adapter == Adapter::lora) {
      check_lora(x, in[next], in[next + 1], *w);
      out[most + i] = Meta{{x.shape[0], in[next].shape[0]}, x.dtype, x.device};
    } else if (l.adapter == Adapter::mora) {
      check_mora(x, in[next], *w, l.op);
    }
    next += factors_of(l.adapter);
  }
  return out;
}

void AdaptedLinears::forward(std::span<const Tensor> in, std::span<Tensor> out) const {
  kernels::adapted_linears(in[0], described(in), out.first(terms.size()), out.subspan(most, terms.size()));
}

Tensors AdaptedLinears::composite(std::span<const Tensor> in) const {
  Tensors ys(2 * most);
  size_t next = 1;
  for (size_t i = 0; i < terms.size(); ++i) {
    ys[i] = composed(in[0], terms[i], in.subspan(next));
    next += factors_of(terms[i].linear.adapter);
  }
  return ys;
}

Tensors AdaptedLinears::vjp(const Saved& s, std::span<const Tensor> gy, Need need) const {
  Tensors in = s.inputs(), hs(terms.size());
  const Tensor x = in[0];
  for (size_t i = 0; i < terms.size(); ++i) {
    if (terms[i].linear.adapter == Adapter::lora) hs[i] = s.output(int(most + i));
    in.push_back(gy[i].defined() ? gy[i] : Tensor::zeros({x.dim(0), terms[i].w->out()}, x.dtype(), x.device()));
  }
  const auto all = apply_list(AdaptedLinearsBackward{*this, need, std::move(hs)}, in);
  return {all.begin(), all.begin() + int64_t(1 + factors())};
}

std::array<std::optional<Meta>, 1 + 2 * AdaptedLinears::most> AdaptedLinearsBackward::infer(
    std::span<const Meta> in) const {
  const size_t inputs = 1 + op.factors();
  invariant(in.size() == inputs + op.terms.size(), "adapted_linears_backward: {} inputs for {} linears", in.size(),
            op.terms.size());
  for (size_t i = 0; i < op.terms.size(); ++i) {
    const Meta &x = in[0], &gy = in[inputs + i];
    require<ShapeError>(gy.shape == Shape({x.shape[0], op.terms[i].w->out()}),
                        "adapted_linears_backward: gy {} for x {} and {} outputs", gy.shape, x.shape,
                        op.terms[i].w->out());
    require<DTypeError>(gy.dtype == x.dtype, "adapted_linears_backward: gy {} for x {}", name_of(gy.dtype),
                        name_of(x.dtype));
  }
  std::array<std::optional<Meta>, 1 + 2 * AdaptedLinears::most> out;
  for (size_t i = 0; i < inputs; ++i)
    if (need[int(i)]) out[i] = Meta{in[i].shape, in[i].dtype, in[i].device};
  return out;
}

void AdaptedLinearsBackward::forward(std::span<const Tensor> in, std::span<Tensor> out) const {
  const size_t inputs = 1 + op.factors(), count = op.terms.size();
  std::vector<std::array<Tensor, 2>> gradients(count);
  size_t next = 1;
  for (size_t i = 0; i < count; ++i)
    for (size_t j = 0; j < factors_of(op.terms[i].linear.adapter); ++j) gradients[i][j] = out[next++];
  kernels::adapted_linears_backward(in[0], op.described(in), hs, in.subspan(inputs), out[0], gradients);
}

Tensors AdaptedLinearsBackward::composite(std::span<const Tensor> in) const {
  const size_t inputs = 1 + op.factors();
  const auto f = [this](std::span<const Tensor> of_op) { return op.composite(of_op); };
  Tensors gys(in.begin() + int64_t(inputs), in.end());
  gys.resize(2 * AdaptedLinears::most);
  return differentiate(f, in.first(inputs), gys, need);
}

}  // namespace ops

AdaptedTerm plain_term(const ops::FrozenWeightPtr& w) { return {w, {.w = w.get()}}; }

AdaptedTerm lora_term(const ops::FrozenWeightPtr& w, const Tensor& a, const Tensor& b, double scale) {
  return {w, kernels::lora_of(*w, a, b, scale)};
}

AdaptedTerm mora_term(const ops::FrozenWeightPtr& w, const Tensor& m, const kernels::MoraOperator& op) {
  return {w, kernels::mora_of(*w, m, op)};
}

Tensors adapted_linears(const Tensor& x, std::span<const AdaptedTerm> terms) {
  ops::AdaptedLinears op;
  Tensors in{x};
  for (AdaptedTerm term : terms) {
    for (Tensor& factor : term.linear.factors)
      if (factor.defined()) in.push_back(std::exchange(factor, Tensor()));
    op.terms.push_back(std::move(term));
  }
  const auto out = apply_list(op, in);
  return {out.begin(), out.begin() + int64_t(terms.size())};
}

}  // namespace mora
