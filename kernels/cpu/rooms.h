// Arrays of floats side by side in a thread's memory, each at a cache line.
#pragma once

#include <array>
#include <cstdint>

#include "kernels/cpu/bf16_tiles.h"

namespace mora::kernels::cpu {

template <size_t N>
class Rooms {
 public:
  template <class... Sizes>
  Rooms(Sizes... sizes) : sizes_{next_multiple(sizes, 16)...} {}

  int64_t size() const {
    int64_t sum = 0;
    for (const int64_t size : sizes_) sum += size;
    return sum;
  }
  std::array<float*, N> in(float* memory) const {
    std::array<float*, N> rooms;
    for (size_t i = 0; i < N; ++i) {
      rooms[i] = memory;
      memory += sizes_[i];
    }
    return rooms;
  }

 private:
  std::array<int64_t, N> sizes_;
};

}  // namespace mora::kernels::cpu
