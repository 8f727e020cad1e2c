#include "kernels/routing.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "engine/parallel.h"

namespace mora::kernels::cpu {
namespace {

constexpr int64_t grain = 512;  // rows

// The experts of one row, the largest p first, of equals the first; NaN comes last.
template <class T>
void rank_experts(std::span<const T> p, std::span<size_t> order) {
  const auto key = [&](size_t e) { return std::isnan(p[e]) ? T(-1) : p[e]; };
  std::iota(order.begin(), order.end(), size_t{0});
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) { return key(a) != key(b) ? key(a) > key(b) : a < b; });
}

template <class T>
void choose_row(std::span<const T> p, const T* margin, std::span<T> chosen, std::span<size_t> order,
                const ExpertChoice& choice) {
  bool any = false;
  for (size_t e = 0; e < p.size(); ++e) {
    const bool in = margin && (choice.at_zero ? margin[e] >= 0 : margin[e] > 0);
    chosen[e] = T(in);
    any = any || in;
  }
  if (any) return;
  rank_experts(p, order);
  double total = 0;
  for (size_t i = 0; i < p.size(); ++i) {
    chosen[order[i]] = 1;
    total += double(p[order[i]]);
    if (choice.top_p > 0 ? total > choice.top_p : int64_t(i) + 1 >= choice.top_k) return;
  }
}

template <class T>
void choose(const Tensor& p, const Tensor& margin, const Tensor& reached, Tensor& chosen, const ExpertChoice& choice) {
  const auto experts = size_t(p.dim(1));
  T* const marks = chosen.mutable_data<T>();
  parallel_for(p.dim(0), grain, [&](int64_t begin, int64_t end) {
    std::vector<size_t> order(experts);
    for (auto row = size_t(begin); row < size_t(end); ++row) {
      const std::span own(marks + row * experts, experts);
      if (reached.defined() && reached.data<T>()[row] == 0)
        std::fill(own.begin(), own.end(), T(0));
      else
        choose_row<T>({p.data<T>() + row * experts, experts},
                      margin.defined() ? margin.data<T>() + row * experts : nullptr, own, order, choice);
    }
  });
}

}  // namespace

void choose_experts(const Tensor& p, const Tensor& margin, const Tensor& reached, Tensor& chosen,
                    const ExpertChoice& choice) {
  check_choice(p, margin, reached, chosen);
  p.dtype() == DType::f64 ? choose<double>(p, margin, reached, chosen, choice)
                          : choose<float>(p, margin, reached, chosen, choice);
}

}  // namespace mora::kernels::cpu
