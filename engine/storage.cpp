#include "engine/storage.h"

#include <sys/mman.h>
#include <unistd.h>

#include "engine/allocator.h"
#include "engine/cuda.h"
#include "engine/error.h"
#include "engine/graph.h"

namespace mora {

Storage::Storage(size_t bytes, Device device) : data_(nullptr), bytes_(bytes), device_(device) {
  if (device.kind == DeviceKind::cpu) {
    data_ = allocate(bytes);
  } else if (GraphPool* pool = Graph::pool_of_recording(device)) {
    data_ = pool->take(bytes);
    pool_ = Ref<GraphPool>(pool);
  } else {
    require<DeviceError>(cuda::allocate != nullptr, "no memory on {}: this program is built without CUDA",
                         to_string(device));
    data_ = cuda::allocate(bytes, device.index);
  }
}

Storage::Storage(const void* data, size_t bytes, std::shared_ptr<const void> owner)
    : data_(const_cast<void*>(data)), bytes_(bytes), device_(cpu), owner_(std::move(owner)) {
  invariant(owner_ != nullptr, "foreign storage needs an owner");
}

Storage::~Storage() {
  if (owner_) return;
  if (device_.kind == DeviceKind::cpu)
    deallocate(data_, bytes_);
  else if (pool_)
    pool_->give_back(data_);
  else if (!Graph::free_later(data_, bytes_, device_))
    cuda::deallocate(data_, bytes_, device_.index);
}

void Storage::release_pages() const {
  if (!owner_) return;
  const auto page = uintptr_t(::sysconf(_SC_PAGESIZE)), first = reinterpret_cast<uintptr_t>(data_);
  const uintptr_t begin = (first + page - 1) / page * page, end = (first + bytes_) / page * page;
  if (begin < end) ::madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);
}

}  // namespace mora
