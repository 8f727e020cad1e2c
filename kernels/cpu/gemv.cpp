// y = x·Wᵀ + c for a few rows of x. Every element of W is used once a row of x, so that the time is that of reading W:
// each thread streams through a contiguous run of W's rows, one after the other, and x stays in the first-level cache.
// bf16 by bf16 is multiplied two factors at a time where the processor has AVX-512 BF16.
#include "kernels/cpu/gemv.h"

#include <atomic>
#include <chrono>
#include <mutex>

#include "kernels/cpu/scratch.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/gemv.cpp"
#include "kernels/cpu/foreach_target.h"

#include "kernels/cpu/gemv_rows.h"

HWY_BEFORE_NAMESPACE();
namespace mora::kernels::cpu::HWY_NAMESPACE {
namespace {

template <class T>
void gemv_as(const Tensor& x, std::span<const GemvTerm> terms) {
  const Scratch<float> memory(std::is_same_v<T, float> ? 0 : x.numel());
  const GemvFactors factors = factors_for(terms, x.data<T>(), x.numel(), memory.data());
  parallel_for(rows_of(terms), row_grain(x.dim(1)),
               [&](int64_t begin, int64_t end) { multiply_rows<T>(terms, factors, x.dim(0), begin, end, nullptr); });
}

void run_gemv(const Tensor& x, std::span<const GemvTerm> terms) {
  x.dtype() == DType::f32 ? gemv_as<float>(x, terms) : gemv_as<bf16_t>(x, terms);
}

}  // namespace
}  // namespace mora::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mora::kernels::cpu {

namespace {

HWY_EXPORT(run_gemv);

// Times products by turns, with W asked for ahead and without; most pairs of neighbours decide.
class AheadTrial {
 public:
  int64_t bytes() const { return bytes_.load(std::memory_order_relaxed); }
  // Whether it is undecided and this product tells something: weights that lie in a cache do not.
  bool wants(std::span<const GemvTerm> terms) const {
    if (runs_.load(std::memory_order_relaxed) >= 2 * pairs) return false;
    int64_t bytes = 0;
    for (const GemvTerm& term : terms) bytes += term.n * term.k * int64_t(size_of(term.w_dtype));
    return bytes >= int64_t{16} << 20;
  }

  void time(FunctionRef<void()> product) {
    const std::lock_guard lock(mutex_);
    bytes_ = runs_ % 2 == 0 ? asked : 0;
    const auto start = std::chrono::steady_clock::now();
    product();
    const auto time = std::chrono::steady_clock::now() - start;
    if (runs_ % 2 == 1) slower_ += before_ > time;
    before_ = time;
    ++runs_;
    bytes_ = slower_ > pairs / 2 ? 0 : asked;
  }

 private:
  static constexpr int pairs = 15;
  static constexpr int64_t asked = 4096;
  std::atomic<int64_t> bytes_ = asked;
  std::atomic<int> runs_ = 0;
  int slower_ = 0;  // pairs in which asking was
  std::chrono::steady_clock::duration before_{};
  std::mutex mutex_;
};

AheadTrial ahead_trial;

}  // namespace

int64_t bytes_ahead() { return ahead_trial.bytes(); }

void gemv(const Tensor& x, std::span<const GemvTerm> terms) {
  const auto product = [&] { HWY_DYNAMIC_DISPATCH(run_gemv)(x, terms); };
  x.dim(0) == 1 && ahead_trial.wants(terms) ? ahead_trial.time(product) : product();
}

}  // namespace mora::kernels::cpu
#endif
