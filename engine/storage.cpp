#include "engine/storage.h"

#include <sys/mman.h>
#include <unistd.h>

#include "engine/allocator.h"
#include "engine/error.h"

namespace mora {

Storage::Storage(size_t bytes, Device device) : data_(nullptr), bytes_(bytes), device_(device) {
  if (device.kind != DeviceKind::cpu)
    fail<DeviceError>("no memory on {}: this build runs on the processor only", to_string(device));
  data_ = allocate(bytes);
}

Storage::Storage(const void* data, size_t bytes, std::shared_ptr<const void> owner)
    : data_(const_cast<void*>(data)), bytes_(bytes), device_(cpu), owner_(std::move(owner)) {
  invariant(owner_ != nullptr, "foreign storage needs an owner");
}

Storage::~Storage() {
  if (!owner_) deallocate(data_, bytes_);
}

void Storage::release_pages() const {
  if (!owner_) return;
  const auto page = uintptr_t(::sysconf(_SC_PAGESIZE)), first = reinterpret_cast<uintptr_t>(data_);
  const uintptr_t begin = (first + page - 1) / page * page, end = (first + bytes_) / page * page;
  if (begin < end) ::madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);
}

}  // namespace mora
