// Work of a device that is recorded once and then done again, at the cost of one launch: a CUDA graph.
//
// A replay does what was recorded, launch by launch, at the addresses of then. What the processor decided while it was
// recorded stays as it was: sizes, branches, numbers given to kernels by value. What differs from replay to replay is
// written to tensors that the work reads.
#pragma once

#include <span>
#include <unordered_set>
#include <vector>

#include "engine/parallel.h"
#include "engine/tensor.h"

namespace mora {

// The memory of what is made while graphs are recorded; nobody else gets it, so that each replay finds it. A block
// whose tensors are gone serves what is recorded after them, in the same graph or another of the pool: work on one
// stream follows its order. So what one graph leaves in its tensors holds until another of the pool is replayed.
class GraphPool final : public RefCounted {
 public:
  explicit GraphPool(Device device);
  ~GraphPool() override;

  void* take(size_t bytes);
  void give_back(void* pointer) noexcept;
  int64_t bytes() const { return bytes_; }
  Device device() const { return device_; }

 private:
  struct Block {
    void* pointer;
    size_t bytes;
    bool used;
  };
  std::vector<Block> blocks_;
  int64_t bytes_ = 0;
  Device device_;
  Ref<Storage> indices_;  // where the kernels of graphs note indices out of range (engine/cuda.h)
};

class Graph {
 public:
  // Runs `work` in this thread: what it launches, copies and zeroes on the pool's device is recorded and not done, and
  // what it allocates there is the pool's. Throws DeviceError where something cannot be recorded: a copy from or to the
  // processor, a wait for the device. Then nothing has changed.
  Graph(Ref<GraphPool> pool, FunctionRef<void()> work);
  ~Graph();
  Graph(const Graph&) = delete;
  Graph& operator=(const Graph&) = delete;

  // Does the work, after all that came before on the current stream. Does not wait.
  void replay();

  // The bytes on the device, u8 (n). A graph that is recorded has them there for each replay: they are not of what it
  // does, so they must not be written to.
  static Tensor upload(std::span<const uint8_t> bytes, Device device);

  // This thread records one.
  static bool recording() { return recording_ != nullptr; }
  // A kernel is about to be given this memory: the graph that this thread records, if any, keeps it.
  static void keep(const Ref<Storage>& storage) {
    if (recording_) recording_->keep_here(storage);
  }

 private:
  friend class Storage;
  // Of the graph that this thread records on the device: the pool, or null.
  static GraphPool* pool_of_recording(Device device);
  // What is freed while a graph is recorded goes when that has ended; false where none is.
  static bool free_later(void* pointer, size_t bytes, Device device) noexcept;

  explicit Graph(Ref<GraphPool> pool) : pool_(std::move(pool)) {}
  void keep_here(const Ref<Storage>& storage);
  void end() noexcept;

  struct Freed {
    void* pointer;
    size_t bytes;
  };
  static thread_local Graph* recording_;
  Ref<GraphPool> pool_;
  void* recorded_ = nullptr;
  std::unordered_set<const Storage*> known_;
  std::vector<Ref<Storage>> kept_;  // what the work uses that is not the pool's
  std::vector<Freed> freed_;
  std::vector<std::pair<Tensor, Tensor>> uploads_;  // from, to: copied when all is recorded
};

}  // namespace mora
