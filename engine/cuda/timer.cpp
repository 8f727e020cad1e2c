#include <cuda_runtime.h>

#include <memory>

#include "engine/cuda.h"
#include "engine/cuda/launch.h"
#include "engine/error.h"

namespace mora::cuda {
namespace {

void check(cudaError_t status) {
  if (status == cudaSuccess) return;
  (void)cudaGetLastError();
  fail<DeviceError>("cuda: timing by events: {}", cudaGetErrorString(status));
}

struct DestroyEvent {
  using pointer = cudaEvent_t;
  void operator()(cudaEvent_t event) const { cudaEventDestroy(event); }
};
using Event = std::unique_ptr<cudaEvent_t, DestroyEvent>;

Event new_event() {
  cudaEvent_t event = nullptr;
  check(cudaEventCreate(&event));
  return Event(event);
}

}  // namespace

double seconds_of(FunctionRef<void()> launch, int device) {
  check(cudaSetDevice(device));
  const auto stream = cudaStream_t(current_stream());
  const Event begin = new_event(), end = new_event();
  check(cudaEventRecord(begin.get(), stream));
  launch();
  check(cudaEventRecord(end.get(), stream));
  check(cudaEventSynchronize(end.get()));
  float milliseconds = 0;
  check(cudaEventElapsedTime(&milliseconds, begin.get(), end.get()));
  return double(milliseconds) / 1e3;
}

}  // namespace mora::cuda
