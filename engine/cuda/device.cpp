#include "engine/cuda.h"

#include <cuda_runtime.h>

#include <mutex>

#include "engine/cuda/launch.h"
#include "engine/error.h"

namespace mora::cuda {
namespace {

void check(cudaError_t status, std::string_view what) {
  if (status == cudaSuccess) return;
  (void)cudaGetLastError();  // the next call begins without it
  fail<DeviceError>("cuda: {}: {}", what, cudaGetErrorString(status));
}

void use(int device) { check(cudaSetDevice(device), fmt::format("device {}", device)); }

std::mutex stats_mutex;
MemoryStats stats[256];

void count(int device, int64_t bytes, int64_t blocks) {
  std::lock_guard lock(stats_mutex);
  MemoryStats& s = stats[device];
  s.live_bytes += bytes;
  s.live_blocks += blocks;
  s.peak_bytes = std::max(s.peak_bytes, s.live_bytes);
}

}  // namespace

void* current_stream() { return nullptr; }

void check_launch(int status, std::string_view signature) {
  if (status != cudaSuccess) check(cudaError_t(status), kernel_name(signature));
}

void* allocate(size_t bytes, int device) {
  use(device);
  void* pointer = nullptr;
  check(cudaMallocAsync(&pointer, std::max<size_t>(bytes, 1), nullptr), fmt::format("{} bytes", bytes));
  count(device, int64_t(bytes), 1);
  return pointer;
}

void deallocate(void* pointer, size_t bytes, int device) noexcept {
  cudaFreeAsync(pointer, nullptr);
  count(device, -int64_t(bytes), -1);
}

void copy(void* to, Device to_device, const void* from, Device from_device, size_t bytes) {
  use(to_device.kind == DeviceKind::cuda ? to_device.index : from_device.index);
  check(cudaMemcpy(to, from, bytes, cudaMemcpyDefault), fmt::format("copying {} bytes", bytes));
}

void zero(void* pointer, size_t bytes, int device) {
  use(device);
  check(cudaMemsetAsync(pointer, 0, bytes, nullptr), fmt::format("zeroing {} bytes", bytes));
}

void synchronize(int device) {
  use(device);
  check(cudaDeviceSynchronize(), "waiting for the device");
}

MemoryStats memory_stats(int device) {
  std::lock_guard lock(stats_mutex);
  return stats[device];
}

}  // namespace mora::cuda
