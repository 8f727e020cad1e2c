#include "engine/cuda.h"

#include <cuda_runtime.h>

#include <array>
#include <cstdlib>
#include <cstring>
#include <memory>
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

void use(int device) {
  const cudaError_t status = cudaSetDevice(device);
  if (status == cudaSuccess) return;
  (void)cudaGetLastError();
  const std::string why = missing(device);
  fail<DeviceError>("no device cuda:{}: {}", device, why.empty() ? cudaGetErrorString(status) : why);
}

std::mutex stats_mutex;
MemoryStats stats[256];

void count(int device, int64_t bytes, int64_t blocks) {
  std::lock_guard lock(stats_mutex);
  MemoryStats& s = stats[device];
  s.live_bytes += bytes;
  s.live_blocks += blocks;
  s.peak_bytes = std::max(s.peak_bytes, s.live_bytes);
}

// Pinned memory through which bytes go to the device: the copy runs beside what the processor does next, and `from` is
// free at once. Copies fill a block one after the other; a block waits for its last copy (its event) before it is
// filled again. So the small copies of several steps ahead wait for nothing.
class Staging {
 public:
  Staging() {
    for (Block& block : blocks_) {
      check(cudaMallocHost(&block.bytes, block_bytes), "pinned memory");
      check(cudaEventCreateWithFlags(&block.copied, cudaEventDisableTiming), "an event");
    }
  }

  void copy(std::byte* to, const std::byte* from, size_t bytes, cudaStream_t stream) {
    std::lock_guard lock(mutex_);
    for (size_t done = 0; done < bytes;) {
      if (filled_ == block_bytes) {
        current_ = (current_ + 1) % blocks_.size();
        check(cudaEventSynchronize(blocks_[current_].copied), "waiting for a copy");
        filled_ = 0;
      }
      const Block& block = blocks_[current_];
      const size_t count = std::min(block_bytes - filled_, bytes - done);
      std::memcpy(block.bytes + filled_, from + done, count);
      check(cudaMemcpyAsync(to + done, block.bytes + filled_, count, cudaMemcpyHostToDevice, stream),
            "copying to the device");
      check(cudaEventRecord(block.copied, stream), "an event");
      done += count;
      filled_ = std::min(block_bytes, (filled_ + count + alignment - 1) / alignment * alignment);
    }
  }

 private:
  static constexpr size_t block_bytes = size_t{2} << 20, alignment = 64;
  struct Block {
    std::byte* bytes = nullptr;
    cudaEvent_t copied = nullptr;
  };
  std::array<Block, 4> blocks_;
  size_t current_ = 0, filled_ = 0;  // bytes of the current block
  std::mutex mutex_;
};

// What a device has once: its queue of work, and the pool of memory that is ordered by it.
struct Queue {
  explicit Queue(int device) {
    use(device);
    check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "a stream");
    check(cudaDeviceGetDefaultMemPool(&pool, device), "the memory pool");
    uint64_t all = UINT64_MAX;  // what is freed stays in the pool, also when the processor waits for the device
    check(cudaMemPoolSetAttribute(pool, cudaMemPoolAttrReleaseThreshold, &all), "the memory pool");
  }

  // While a graph is recorded, memory is allocated on a stream of its own: on that of the graph it would be the
  // graph's.
  void* allocate_beside(size_t bytes) {
    if (!beside) check(cudaStreamCreateWithFlags(&beside, cudaStreamNonBlocking), "a stream");
    void* pointer = nullptr;
    check(cudaMallocAsync(&pointer, bytes, beside), fmt::format("{} bytes", bytes));
    check(cudaStreamSynchronize(beside), "memory for a graph");
    return pointer;
  }

  cudaStream_t stream = nullptr, beside = nullptr;
  cudaMemPool_t pool = nullptr;
  bool recording = false;
  Staging staging;
};

// Makes the device the thread's current one. The queues outlive every static tensor.
Queue& queue(int device) {
  static std::mutex mutex;
  static auto* const queues = new std::array<std::unique_ptr<Queue>, 256>;
  use(device);
  std::lock_guard lock(mutex);
  std::unique_ptr<Queue>& q = (*queues)[size_t(device)];
  if (!q) q = std::make_unique<Queue>(device);
  return *q;
}

// MORA_SYNC=1: each launch is waited for, so that what fails is named where it was launched, and not somewhere later.
bool is_asked_to_wait() {
  const char* value = std::getenv("MORA_SYNC");
  return value && std::string_view(value) == "1";
}
bool is_synchronous() {
  static const bool on = is_asked_to_wait();
  return on;
}

}  // namespace

void* current_stream() {
  int device = 0;
  check(cudaGetDevice(&device), "the current device");
  return queue(device).stream;
}

void check_launch(int status, std::string_view signature) {
  if (status == cudaSuccess && is_synchronous()) status = cudaStreamSynchronize(cudaStream_t(current_stream()));
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
  void* pointer = nullptr;
  Queue& q = queue(device);
  bytes = std::max<size_t>(bytes, 1);
  if (q.recording)
    pointer = q.allocate_beside(bytes);
  else
    check(cudaMallocAsync(&pointer, bytes, q.stream), fmt::format("{} bytes", bytes));
  count(device, int64_t(bytes), 1);
  return pointer;
}

void deallocate(void* pointer, size_t bytes, int device) noexcept {
  try {
    cudaFreeAsync(pointer, queue(device).stream);
  } catch (const DeviceError&) {  // the driver has gone before a static tensor, and took the memory along
  }
  count(device, -int64_t(bytes), -1);
}

void copy(void* to, Device to_device, const void* from, Device from_device, size_t bytes) {
  const bool arrives = to_device.kind == DeviceKind::cuda, leaves = from_device.kind == DeviceKind::cuda;
  Queue& q = queue(arrives ? to_device.index : from_device.index);
  require<DeviceError>(!q.recording || (arrives && leaves), "a copy {} the device cannot be recorded in a graph",
                       arrives ? "to" : "from");
  if (!leaves) return q.staging.copy(static_cast<std::byte*>(to), static_cast<const std::byte*>(from), bytes, q.stream);
  check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDefault, q.stream), fmt::format("copying {} bytes", bytes));
  if (!arrives) check(cudaStreamSynchronize(q.stream), "waiting for a copy");
}

void zero(void* pointer, size_t bytes, int device) {
  check(cudaMemsetAsync(pointer, 0, bytes, queue(device).stream), fmt::format("zeroing {} bytes", bytes));
}

void synchronize(int device) {
  Queue& q = queue(device);
  require<DeviceError>(!q.recording, "waiting for the device cannot be recorded in a graph");
  check(cudaStreamSynchronize(q.stream), "waiting for the device");
}

MemoryStats memory_stats(int device) {
  Queue& q = queue(device);
  uint64_t reserved = 0, used = 0;
  check(cudaMemPoolGetAttribute(q.pool, cudaMemPoolAttrReservedMemCurrent, &reserved), "the memory pool");
  check(cudaMemPoolGetAttribute(q.pool, cudaMemPoolAttrUsedMemCurrent, &used), "the memory pool");
  std::lock_guard lock(stats_mutex);
  MemoryStats result = stats[device];
  result.cached_bytes = int64_t(reserved - used);
  return result;
}

void begin_recording(int device) {
  require<DeviceError>(!is_asked_to_wait(), "MORA_SYNC=1 waits for each launch, so no graph is recorded");
  Queue& q = queue(device);
  check(cudaStreamSynchronize(q.stream), "waiting for the device");  // what was freed is there for the graph
  check(cudaStreamBeginCapture(q.stream, cudaStreamCaptureModeRelaxed), "recording a graph");
  q.recording = true;
}

void* end_recording(int device) {
  Queue& q = queue(device);
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t executable = nullptr;
  const cudaError_t ended = cudaStreamEndCapture(q.stream, &graph);
  q.recording = false;
  check(ended, "recording a graph");
  const cudaError_t made = cudaGraphInstantiate(&executable, graph, 0);
  cudaGraphDestroy(graph);
  check(made, "making a graph");
  return executable;
}

void cancel_recording(int device) noexcept {
  Queue& q = queue(device);  // it is there: begin_recording used it
  if (!q.recording) return;
  cudaGraph_t graph = nullptr;
  cudaStreamEndCapture(q.stream, &graph);
  if (graph) cudaGraphDestroy(graph);
  (void)cudaGetLastError();
  q.recording = false;
}

void replay(void* recorded, int device) {
  check(cudaGraphLaunch(cudaGraphExec_t(recorded), queue(device).stream), "a graph");
}

void discard(void* recorded, int) noexcept { cudaGraphExecDestroy(cudaGraphExec_t(recorded)); }

}  // namespace mora::cuda
