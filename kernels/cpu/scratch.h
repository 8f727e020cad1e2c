// Memory that lives as long as a call: an uninitialised array from the caching allocator.
#pragma once

#include <cstdint>
#include <utility>

#include "engine/allocator.h"

namespace mora::kernels::cpu {

template <class T>
class Scratch {
 public:
  Scratch() = default;
  explicit Scratch(int64_t n) : bytes_(size_t(n) * sizeof(T)), data_(static_cast<T*>(allocate(bytes_))) {}
  Scratch(Scratch&& other) noexcept : bytes_(other.bytes_), data_(std::exchange(other.data_, nullptr)) {}
  Scratch& operator=(Scratch other) noexcept {
    std::swap(bytes_, other.bytes_);
    std::swap(data_, other.data_);
    return *this;
  }
  ~Scratch() {
    if (data_) deallocate(data_, bytes_);
  }

  T* data() const { return data_; }
  T& operator[](int64_t i) const { return data_[i]; }

 private:
  size_t bytes_ = 0;
  T* data_ = nullptr;
};

}  // namespace mora::kernels::cpu
