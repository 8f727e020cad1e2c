#include "mora/act/halting.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>

#include "autograd/ops/arithmetic.h"
#include "autograd/ops/elementary.h"
#include "autograd/ops/embedding.h"
#include "autograd/ops/matmul.h"
#include "autograd/ops/reduce.h"
#include "autograd/ops/shape.h"

namespace mora {
namespace {

constexpr std::array<std::string_view, 2> loss_names = {"graves", "pondernet"};
constexpr double prior_rate = 0.2;  // PonderNet's λ_p
constexpr double least_weight = 1e-30;

// Which tokens are at their last step: 1 or 0, row by row; a device is waited for.
std::vector<uint8_t> halting_rows(const Tensor& reached, double limit, bool last) {
  const NoGrad no_grad;
  const Tensor sums = contiguous(cast(reached.detach(), DType::f64)).to(cpu);
  std::vector<uint8_t> halts;
  for (double sum : sums.values<double>()) halts.push_back(last || !(sum < limit));  // NaN halts
  return halts;
}

// ln of the step's probability under the geometric distribution that is cut off after `most` steps.
double log_prior(int64_t step, int64_t most) {
  const double whole = 1 - std::pow(1 - prior_rate, double(most));
  return std::log(prior_rate / whole) + double(step - 1) * std::log(1 - prior_rate);
}

}  // namespace

std::string_view name_of(HaltingSpec::Loss loss) { return loss_names[size_t(loss)]; }

HaltingSpec::Loss parse_ponder_loss(std::string_view word, std::string_view place) {
  const auto found = std::find(loss_names.begin(), loss_names.end(), word);
  require<ConfigError>(found != loss_names.end(), "{}: '{}': expected one of {}", place, word,
                       fmt::join(loss_names, ", "));
  return HaltingSpec::Loss(found - loss_names.begin());
}

Halting::Halting(HaltingSpec spec, int64_t width, Make make)
    : spec_(spec), weight_(make("act.weight", {1, width})), bias_(make("act.bias", {1})) {
  require<ConfigError>(spec.max_steps >= 1, "adapter.act.max_steps: {} is below 1", spec.max_steps);
  require<ConfigError>(spec.epsilon >= 0 && spec.epsilon < 1, "adapter.act.epsilon: {} is not in [0, 1)", spec.epsilon);
}

void Halting::visit_parameters(FunctionRef<void(const std::string& name, Tensor& value)> visit) {
  visit("act.weight", weight_);
  visit("act.bias", bias_);
}

struct Halting::Tokens {
  Tensor state;              // (n, width)
  Tensor spent;              // (n, 1): Σ p of the steps before, in f32 at least
  std::vector<int32_t> ids;  // their rows of the batch
  bool all = true;           // none has halted yet

  Tensor rows() const { return all ? Tensor() : Tensor::from(ids, {std::ssize(ids)}).to(state.device()); }
  // Those that do not halt, after the step that made z and p.
  Tokens going_on(const std::vector<uint8_t>& halts, const Tensor& z, const Tensor& p) const {
    std::vector<int32_t> kept;
    for (size_t i = 0; i < halts.size(); ++i)
      if (!halts[i]) kept.push_back(int32_t(i));
    Tokens next{.state = {}, .spent = {}, .ids = {}, .all = all && kept.size() == halts.size()};
    for (int32_t i : kept) next.ids.push_back(ids[size_t(i)]);
    const Tensor index = Tensor::from(kept, {std::ssize(kept)}).to(state.device());
    const auto of_kept = [&](const Tensor& t) { return next.all ? t : gather_rows(contiguous(t), index); };
    next.state = of_kept(state) + tanh(of_kept(z));
    next.spent = of_kept(spent + p);
    return next;
  }
};

Tensor Halting::run(const Tensor& start, Step step, Context& context, uint64_t layer) const {
  const int64_t tokens = start.dim(0);
  const DType wide = compute_dtype(start.dtype());
  const Device device = start.device();
  Tokens now{
      .state = start, .spent = Tensor::zeros({tokens, 1}, wide, device), .ids = std::vector<int32_t>(size_t(tokens))};
  std::iota(now.ids.begin(), now.ids.end(), 0);
  Tensors parts;                   // pⁿ zⁿ of the tokens that took step n,
  std::vector<int32_t> part_rows;  // and which they are
  Tensor costs;
  for (int64_t n = 1; n == 1 || !now.ids.empty(); ++n) {
    const Tensor z = step(now.state, now.rows()), p = probability(now);
    const std::vector<uint8_t> halts = halting_rows(now.spent + p, 1 - spec_.epsilon, n == spec_.max_steps);
    const std::vector<float> marks(halts.begin(), halts.end());
    const Tensor mask = cast(Tensor::from(marks, p.shape()).to(device), wide);
    const Tensor weight = p * (1 - mask) + (1 - now.spent) * mask;
    parts.push_back(z * cast(weight, z.dtype()));
    part_rows.insert(part_rows.end(), now.ids.begin(), now.ids.end());
    if (context.training && spec_.ponder > 0 && tokens > 0) {
      const Tensor added = cost(weight, mask, n);
      costs = costs.defined() ? costs + added : added;
    }
    if (std::all_of(halts.begin(), halts.end(), [](uint8_t h) { return h != 0; })) break;
    now = now.going_on(halts, z, p);
  }
  if (costs.defined()) context.losses.push_back(costs * (spec_.ponder / double(tokens)));
  if (context.routed) {
    RoutedTokens& noted = (*context.routed)[layer];
    noted.tokens = tokens;
    noted.steps = double(part_rows.size());
  }
  if (parts.size() == 1) return parts[0];
  const Tensor rows = Tensor::from(part_rows, {std::ssize(part_rows)}).to(device);
  return apply(ops::ScatterRows{rows, tokens, start.dtype()}, concat(parts, 0));
}

Tensor Halting::probability(const Tokens& now) const {
  const DType wide = now.spent.dtype();
  const Tensor score = matmul(cast(now.state, wide), cast(weight_, wide), false, true) + cast(bias_, wide);
  const Tensor h = sigmoid(score);
  return spec_.loss == HaltingSpec::Loss::graves ? h : h * (1 - now.spent);
}

Tensor Halting::cost(const Tensor& weight, const Tensor& halts, int64_t step) const {
  if (spec_.loss == HaltingSpec::Loss::graves)
    return sum(weight * halts) + double(weight.numel());  // R; N step by step
  return sum(weight * (log(weight + least_weight) - log_prior(step, spec_.max_steps)));
}

}  // namespace mora
