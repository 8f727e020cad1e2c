// The device's half of the engine: what engine/cuda/ does on a card, and the tests' emulator without one. The functions
// are weak: null in a program that is linked with neither, which then has no such device.
#pragma once

#include <cstddef>
#include <string>

#include "engine/allocator.h"
#include "engine/device.h"
#include "engine/parallel.h"
#include "engine/storage.h"

namespace mora::cuda {

// Why there is no such device, in a few words; "" where there is. Of a program without CUDA too.
std::string unavailable(int device);
// parse_device, for use now: DeviceError, with the reason, where there is no such device. `option` is where the user
// wrote it, "--device" or "device:".
Device usable_device(std::string_view text, std::string_view option);

// A card, as its driver describes it.
struct Card {
  std::string name;
  int compute_capability = 0;  // 90 for 9.0
  int64_t memory_bytes = 0, free_bytes = 0;
};
[[gnu::weak]] Card describe(int device);
// What is missing for the device: unavailable, of a program that is linked with CUDA.
[[gnu::weak]] std::string missing(int device);

// `bytes` of the device's memory, aligned to 256; never null, also for 0 bytes. Work of the current stream may use it
// at once. Throws DeviceError where there is no such device or not enough memory.
[[gnu::weak]] void* allocate(size_t bytes, int device);
// Gives back what allocate(bytes, device) returned; work of the current stream that uses it may still be under way.
[[gnu::weak]] void deallocate(void* pointer, size_t bytes, int device) noexcept;
// Copies between the processor and a device or within one, after all work of the current stream. When it returns,
// `from` may be changed, and what went to the processor is there.
[[gnu::weak]] void copy(void* to, Device to_device, const void* from, Device from_device, size_t bytes);
[[gnu::weak]] void zero(void* pointer, size_t bytes, int device);
// Waits for all work of the device. Throws DeviceError where some of it failed.
[[gnu::weak]] void synchronize(int device);
// How long the device takes for the work that `launch` gives to the current stream, in seconds, by its own events;
// waits for it.
[[gnu::weak]] double seconds_of(FunctionRef<void()> launch, int device);
// Throws ShapeError where a kernel has met an index out of range since the last call (kernels/cuda/index_errors.h): a
// kernel cannot throw itself. Tensor::to the processor asks.
[[gnu::weak]] void check_indices(int device);
// Where kernels note them; the same as long as anyone holds it.
[[gnu::weak]] Ref<Storage> index_memory(int device);
[[gnu::weak]] MemoryStats memory_stats(int device);

// For engine/graph.h. Between the two, work of the current stream is recorded and not done, and memory is allocated
// beside it. Throw DeviceError where it cannot be: with MORA_SYNC=1, which waits for each launch.
[[gnu::weak]] void begin_recording(int device);
[[gnu::weak]] void* end_recording(int device);
// Instead of end_recording, after an error.
[[gnu::weak]] void cancel_recording(int device) noexcept;
// Does again what end_recording returned, until it is discarded.
[[gnu::weak]] void replay(void* recorded, int device);
[[gnu::weak]] void discard(void* recorded, int device) noexcept;

}  // namespace mora::cuda
