// y_i = f(x_i) for any number of contiguous tensors of one dtype, 16 bytes a thread.
#pragma once

#include "kernels/cuda/arrays.h"

namespace mora::kernels::cuda {

// F: a struct with `void operator()(const C (&x)[Inputs], C (&y)[Outputs]) const` for C = Compute<T>.
template <class T, int Inputs, int Outputs, class F>
struct Map {
  static constexpr int threads = 256;
  static constexpr int width = pack_width<T>;
  Array<const T> x[Inputs];
  Array<T> y[Outputs];
  int64_t packs;  // that begin the arrays; the rest goes one by one
  F f;

  SIMT_DEVICE void operator()() const {
    for (int64_t i = simt::global_index(); i < packs; i += simt::global_size()) map<width>(i * width);
    for (int64_t i = packs * width + simt::global_index(); i < y[0].size; i += simt::global_size()) map<1>(i);
  }

  // Elements i … i + N − 1.
  template <int N>
  SIMT_DEVICE void map(int64_t i) const {
    Pack<T, N> in[Inputs], out[Outputs];
    for (int k = 0; k < Inputs; ++k) in[k] = x[k].template pack<N>(i);
    for (int n = 0; n < N; ++n) {
      Compute<T> from[Inputs], to[Outputs];
      for (int k = 0; k < Inputs; ++k) from[k] = widen(in[k].values[n]);
      f(from, to);
      for (int k = 0; k < Outputs; ++k) out[k].values[n] = narrow<T>(to[k]);
    }
    for (int k = 0; k < Outputs; ++k) y[k].template set_pack<N>(i, out[k]);
  }
};

template <class F, int Inputs, int Outputs>
void launch_map(const View (&x)[Inputs], const View (&y)[Outputs], const F& f) {
  visit_floating(y[0].dtype, [&](auto t) {
    using T = decltype(t);
    using Kernel = Map<T, Inputs, Outputs, F>;
    bool packed = true;
    Kernel kernel{{}, {}, 0, f};
    for (int k = 0; k < Inputs; ++k) {
      kernel.x[k] = {static_cast<const T*>(x[k].data), x[k].size};
      packed = packed && moves_in_packs(x[k]);
    }
    for (int k = 0; k < Outputs; ++k) {
      kernel.y[k] = elements<T>(y[k]);
      packed = packed && moves_in_packs(y[k]);
    }
    if (packed) kernel.packs = y[0].size / Kernel::width;
    simt::launch(simt::blocks_for(y[0].size, Kernel::threads * Kernel::width), kernel);
  });
}

}  // namespace mora::kernels::cuda
