// The emulator's half of engine/cuda.h's seconds_of: its launches are over when they return.
#include <chrono>

#include "engine/cuda.h"

namespace mora::cuda {

double seconds_of(FunctionRef<void()> launch, int) {
  const auto begin = std::chrono::steady_clock::now();
  launch();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

}  // namespace mora::cuda
