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

std::string missing(int device) {
  int driver = 0, runtime = 0, devices = 0;
  (void)cudaDriverGetVersion(&driver);
  (void)cudaRuntimeGetVersion(&runtime);
  const auto version = [](int v) { return fmt::format("{}.{}", v / 1000, v % 1000 / 10); };
  if (driver == 0) return "there is no NVIDIA driver";
  if (driver / 1000 < runtime / 1000)
    return fmt::format("the NVIDIA driver is for CUDA {}, but this build needs {}.0", version(driver), runtime / 1000);
  const cudaError_t status = cudaGetDeviceCount(&devices);
  (void)cudaGetLastError();
  if (status != cudaSuccess && status != cudaErrorNoDevice) return cudaGetErrorString(status);
  if (devices == 0) return "there is no NVIDIA card";
  return device < devices ? "" : fmt::format("there is no card {}: the last is {}", device, devices - 1);
}

Card describe(int device) {
  use(device);
  cudaDeviceProp properties{};
  size_t free = 0, total = 0;
  check(cudaGetDeviceProperties(&properties, device), "properties");
  check(cudaMemGetInfo(&free, &total), "memory");
  return {properties.name, properties.major * 10 + properties.minor, int64_t(total), int64_t(free)};
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
