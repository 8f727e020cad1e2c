// Which experts a token uses. A thread has a row: experts are few, and a row is read once for each that is chosen.
#include "kernels/cuda/routing.h"

#include "kernels/cuda/arrays.h"

namespace mora::kernels::cuda {
namespace {

template <class T>
struct ChooseExperts {
  static constexpr int threads = 128;
  Array<const T> p, margin, reached;
  Array<T> chosen;
  int64_t experts;
  ExpertChoice choice;

  SIMT_DEVICE void operator()() const {
    const int64_t rows = p.size / experts;
    for (int64_t row = simt::global_index(); row < rows; row += simt::global_size()) {
      const bool is_reached = reached.size == 0 || T(reached[row]) != 0;
      if (!let_in(row * experts, is_reached) && is_reached) choose_likeliest(row * experts);
    }
  }

 private:
  // Chooses by the margins alone, and whether there was one to choose.
  SIMT_DEVICE bool let_in(int64_t first, bool is_reached) const {
    bool any = false;
    for (int64_t i = first; i < first + experts; ++i) {
      const T m = margin.size > 0 ? T(margin[i]) : T(-1);
      const bool in = is_reached && (choice.at_zero ? m >= 0 : m > 0);
      chosen[i] = T(in);
      any = any || in;
    }
    return any;
  }
  SIMT_DEVICE void choose_likeliest(int64_t first) const {
    double total = 0;
    for (int64_t count = 1; count <= experts; ++count) {
      const int64_t i = likeliest(first);
      chosen[i] = T(1);
      total += double(T(p[i]));
      if (choice.top_p > 0 ? total > choice.top_p : count >= choice.top_k) return;
    }
  }
  // Of those that are not chosen: the largest p, of equals the first; NaN comes last.
  SIMT_DEVICE int64_t likeliest(int64_t first) const {
    int64_t best = -1;
    T most = 0;
    for (int64_t i = first; i < first + experts; ++i) {
      if (T(chosen[i]) != 0) continue;
      const T own = p[i], key = own == own ? own : T(-1);
      if (best >= 0 && !(key > most)) continue;
      best = i;
      most = key;
    }
    return best;
  }
};

}  // namespace

void launch_choose_experts(View p, View margin, View reached, View chosen, int64_t experts, ExpertChoice choice) {
  const auto launch = [&](auto t) {
    using T = decltype(t);
    simt::launch(simt::blocks_for(p.size / experts, ChooseExperts<T>::threads),
                 ChooseExperts<T>{elements<const T>(p), elements<const T>(margin), elements<const T>(reached),
                                  elements<T>(chosen), experts, choice});
  };
  p.dtype == DType::f64 ? launch(double{}) : launch(float{});
}

}  // namespace mora::kernels::cuda
