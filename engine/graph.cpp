#include "engine/graph.h"

#include <algorithm>

#include "engine/cuda.h"
#include "engine/error.h"

namespace mora {
namespace {

// A block may serve a smaller tensor where little of it is lost.
constexpr size_t granule = 512, most_lost = 64 << 10;
bool serves(size_t block, size_t bytes) { return block >= bytes && block - bytes <= std::max(most_lost, bytes / 8); }

}  // namespace

GraphPool::GraphPool(Device device) : device_(device) {
  if (cuda::index_memory) indices_ = cuda::index_memory(device.index);
}

GraphPool::~GraphPool() {
  for (const Block& block : blocks_) cuda::deallocate(block.pointer, block.bytes, device_.index);
}

void* GraphPool::take(size_t bytes) {
  bytes = std::max<size_t>(1, (bytes + granule - 1) / granule) * granule;
  Block* best = nullptr;
  for (Block& block : blocks_)
    if (!block.used && serves(block.bytes, bytes) && (!best || block.bytes < best->bytes)) best = &block;
  if (!best) {
    blocks_.reserve(blocks_.size() + 1);  // nothing throws once there is a block
    best = &blocks_.emplace_back(Block{cuda::allocate(bytes, device_.index), bytes, false});
    bytes_ += int64_t(bytes);
  }
  best->used = true;
  return best->pointer;
}

void GraphPool::give_back(void* pointer) noexcept {
  std::find_if(blocks_.begin(), blocks_.end(), [&](const Block& b) { return b.pointer == pointer; })->used = false;
}

thread_local Graph* Graph::recording_ = nullptr;

Graph::Graph(Ref<GraphPool> pool, FunctionRef<void()> work) : Graph(std::move(pool)) {
  const int device = pool_->device().index;
  require<DeviceError>(cuda::begin_recording != nullptr, "no graphs on {}: this program is built without CUDA",
                       to_string(pool_->device()));
  require<DeviceError>(recording_ == nullptr, "a graph is recorded already");
  cuda::begin_recording(device);
  recording_ = this;
  try {
    work();
    recorded_ = cuda::end_recording(device);
  } catch (...) {
    cuda::cancel_recording(device);
    end();
    throw;
  }
  end();
  for (auto& [from, to] : uploads_)
    cuda::copy(to.mutable_raw(), pool_->device(), from.raw(), from.device(), from.bytes());
  uploads_.clear();
}

Graph::~Graph() {
  if (recorded_) cuda::discard(recorded_, pool_->device().index);
}

// Nothing is recorded any more.
void Graph::end() noexcept {
  recording_ = nullptr;
  for (const Freed& freed : freed_) cuda::deallocate(freed.pointer, freed.bytes, pool_->device().index);
  freed_.clear();
}

void Graph::replay() { cuda::replay(recorded_, pool_->device().index); }

Tensor Graph::upload(std::span<const uint8_t> bytes, Device device) {
  const Tensor here = Tensor::from(bytes, {int64_t(bytes.size())});
  if (!pool_of_recording(device)) return here.to(device);
  auto& [from, there] = recording_->uploads_.emplace_back(here, Tensor());
  Graph* recording = std::exchange(recording_, nullptr);  // memory that is not the pool's
  try {
    there = Tensor::empty(here.shape(), here.dtype(), device);
  } catch (...) {
    recording_ = recording;
    throw;
  }
  recording_ = recording;
  recording_->kept_.push_back(there.storage());
  return there;
}

GraphPool* Graph::pool_of_recording(Device device) {
  return recording_ && recording_->pool_->device() == device ? recording_->pool_.get() : nullptr;
}

bool Graph::free_later(void* pointer, size_t bytes, Device device) noexcept {
  if (!pool_of_recording(device)) return false;
  recording_->freed_.push_back({pointer, bytes});
  return true;
}

void Graph::keep_here(const Ref<Storage>& storage) {
  if (storage->device() == pool_->device() && !storage->is_of_graph() && known_.insert(storage.get()).second)
    kept_.push_back(storage);
}

}  // namespace mora
