// The bytes behind one or more tensors.
#pragma once

#include <cstdint>
#include <memory>

#include "engine/device.h"
#include "engine/ref.h"

namespace mora {

class GraphPool;

// Either memory of the caching allocator or of a device, or of the graph that is being recorded (engine/graph.h), or
// foreign memory (a mapped file) kept alive by `owner`. The version counts in-place writes: autograd compares it to see
// that what it saved is unchanged.
class Storage final : public RefCounted {
 public:
  Storage(size_t bytes, Device device);
  // Foreign bytes: a part of a file that is mapped and never written. `owner` keeps them alive.
  Storage(const void* data, size_t bytes, std::shared_ptr<const void> owner);
  ~Storage() override;

  void* data() const { return data_; }
  size_t bytes() const { return bytes_; }
  Device device() const { return device_; }
  bool is_foreign() const { return owner_ != nullptr; }
  bool is_of_graph() const { return bool(pool_); }
  // Gives whole pages of foreign bytes back to the system; they are read from the file again when they are touched.
  void release_pages() const;
  uint32_t version() const { return version_; }
  void bump_version() { ++version_; }

 private:
  void* data_;
  size_t bytes_;
  Device device_;
  uint32_t version_ = 0;
  std::shared_ptr<const void> owner_;
  Ref<GraphPool> pool_;
};

}  // namespace mora
