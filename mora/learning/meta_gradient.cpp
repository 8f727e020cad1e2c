#include "mora/learning/meta_gradient.h"

#include "autograd/grad.h"
#include "autograd/ops/arithmetic.h"

namespace mora {
namespace {

bool has_second_derivatives(MetaKind kind) { return kind != MetaKind::fomaml && kind != MetaKind::reptile; }

}  // namespace

MetaKind parse_meta_kind(std::string_view word) {
  constexpr std::pair<std::string_view, MetaKind> kinds[] = {{"maml", MetaKind::maml},
                                                             {"fomaml", MetaKind::fomaml},
                                                             {"reptile", MetaKind::reptile},
                                                             {"anil", MetaKind::anil},
                                                             {"metasgd", MetaKind::metasgd}};
  for (const auto& [name, kind] : kinds)
    if (name == word) return kind;
  fail<ConfigError>("meta.kind: '{}': expected maml, fomaml, reptile, anil or metasgd", word);
}

Tensors adapt_to(LossAt support, std::span<const Tensor> theta, std::span<const Tensor> rates, const InnerLoop& loop,
                 bool differentiable) {
  const bool second_order = differentiable && has_second_derivatives(loop.kind);
  Tensors phi(theta.begin(), theta.end());
  for (int64_t step = 0; step < loop.steps; ++step) {
    std::vector<size_t> moved;
    Tensors wanted;
    for (size_t i = 0; i < phi.size(); ++i) {
      if (loop.kind == MetaKind::anil && !loop.is_head[i]) continue;
      if (!differentiable) phi[i] = leaf(phi[i].detach());
      moved.push_back(i);
      wanted.push_back(phi[i]);
    }
    const Tensors g = grad(support(phi), wanted, {.create_graph = second_order, .allow_unused = true});
    for (size_t k = 0; k < moved.size(); ++k) {
      if (!g[k].defined()) continue;
      Tensor& value = phi[moved[k]];
      value = value - (rates.empty() ? g[k] * loop.rate : g[k] * rates[moved[k]]);
    }
  }
  return phi;
}

MetaGradient meta_gradient(LossAt support, LossAt query, std::span<const Tensor> theta, std::span<const Tensor> rates,
                           const InnerLoop& loop) {
  if (loop.kind == MetaKind::reptile) {
    const Tensors phi = adapt_to(support, theta, rates, loop, false);
    const NoGrad no_grad;
    MetaGradient result{.query_loss = query(phi).item(), .gradients = {}};
    for (size_t i = 0; i < theta.size(); ++i) result.gradients.push_back(theta[i] - phi[i]);
    return result;
  }
  const Tensor loss = query(adapt_to(support, theta, rates, loop, true));
  Tensors learned(theta.begin(), theta.end());
  learned.insert(learned.end(), rates.begin(), rates.end());
  return {.query_loss = loss.item(), .gradients = grad(loss, learned, {.allow_unused = true})};
}

}  // namespace mora
