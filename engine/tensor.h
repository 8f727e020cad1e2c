// The one tensor type: a handle to a strided view of a storage, with room for the autograd node that made it.
//
// Copying a Tensor copies the handle. Tensors are values to the rest of the library: ops make new ones; only optimizers
// and loaders write in place, and say so through `mutable_data`, which moves the storage's version.
#pragma once

#include <cstring>
#include <span>
#include <vector>

#include "engine/dtype.h"
#include "engine/shape.h"
#include "engine/storage.h"

namespace mora {

// What is known of a tensor before it exists: what `infer` of an op takes and gives.
struct Meta {
  Shape shape;
  DType dtype = DType::f32;
  Device device = cpu;
  bool operator==(const Meta&) const = default;
};

class Tensor {
 public:
  Tensor() = default;  // undefined: no shape, no storage

  // Uninitialised memory.
  static Tensor empty(const Meta& meta);
  static Tensor empty(const Shape& shape, DType dtype = DType::f32, Device device = cpu) {
    return empty(Meta{shape, dtype, device});
  }
  static Tensor zeros(const Shape& shape, DType dtype = DType::f32, Device device = cpu);
  // Copies `values` (row-major) into a tensor of the given shape. Throws ShapeError when the counts differ.
  template <class T>
  static Tensor from(std::span<const T> values, const Shape& shape);
  template <class T>
  static Tensor from(const std::vector<T>& values, const Shape& shape) {
    return from(std::span<const T>(values), shape);
  }
  // A row-major view of foreign bytes (a mapped file), kept alive by `owner`. Not to be written.
  static Tensor foreign(const void* data, const Shape& shape, DType dtype, std::shared_ptr<const void> owner);

  bool defined() const { return bool(impl_); }
  const Shape& shape() const { return impl().shape; }
  const Strides& strides() const { return impl().strides; }
  int rank() const { return impl().shape.rank(); }
  int64_t dim(int i) const { return impl().shape[i]; }
  int64_t numel() const { return impl().numel; }
  size_t bytes() const { return size_t(numel()) * size_of(dtype()); }
  DType dtype() const { return impl().dtype; }
  Device device() const { return impl().storage->device(); }
  int64_t offset() const { return impl().offset; }  // elements from the start of the storage
  const Ref<Storage>& storage() const { return impl().storage; }
  uint32_t version() const { return impl().storage->version(); }
  bool is_contiguous() const { return impl().contiguous; }
  Meta meta() const { return {shape(), dtype(), device()}; }

  // The first element, where the device can read it. T must match the dtype: DTypeError otherwise.
  template <class T>
  const T* data() const {
    check_dtype(dtype_of<T>);
    return static_cast<const T*>(raw());
  }
  // As data, for writing in place: the storage's version moves, so that a backward pass that needs the old values
  // throws.
  template <class T>
  T* mutable_data() {
    check_dtype(dtype_of<T>);
    impl().storage->bump_version();
    return static_cast<T*>(const_cast<void*>(raw()));
  }
  const void* raw() const {
    return static_cast<const std::byte*>(impl().storage->data()) + size_t(impl().offset) * size_of(dtype());
  }
  void* mutable_raw() {
    impl().storage->bump_version();
    return const_cast<void*>(raw());
  }
  // The elements of a contiguous tensor on the processor.
  template <class T>
  std::span<const T> values() const {
    require<ShapeError>(is_contiguous(), "values of a tensor {} that is not contiguous", shape());
    require<DeviceError>(device() == cpu, "values of a tensor on {}: expected the processor", to_string(device()));
    return {data<T>(), size_t(numel())};
  }
  // The same values on another device, with the same strides and without history; the tensor itself where it is there
  // already. The only copy between devices. Throws DeviceError where there is no such device.
  Tensor to(Device target) const;
  // The one element of a floating or integer tensor, as double, from any device. Throws ShapeError when there are more.
  double item() const;

  // The same storage seen with other shape, strides and offset (elements from the storage's start), without history.
  Tensor alias(const Shape& shape, const Strides& strides, int64_t offset) const;
  // The same view without history.
  Tensor detach() const { return alias(shape(), strides(), offset()); }
  bool same_as(const Tensor& other) const { return impl_ == other.impl_; }
  uint32_t use_count() const { return impl_ ? impl_->use_count() : 0; }

  // The autograd slot: owned by autograd/, opaque here.
  const Ref<RefCounted>& node() const { return impl().node; }
  uint32_t node_output() const { return impl().node_output; }
  void set_node(Ref<RefCounted> node, uint32_t output) {
    impl().node = std::move(node);
    impl().node_output = output;
  }

 private:
  struct Impl final : RefCounted {
    Impl(const Shape& dims, const Strides& steps, int64_t start, DType type, Ref<Storage> memory);

    Shape shape;
    Strides strides;
    int64_t offset;
    int64_t numel;
    Ref<Storage> storage;
    Ref<RefCounted> node;
    uint32_t node_output = 0;
    DType dtype;
    bool contiguous;
  };

  Impl& impl() const {
    if (!impl_) [[unlikely]]
      throw InternalError("internal error: an undefined tensor was used");
    return *impl_;
  }
  void check_dtype(DType wanted) const {
    if (dtype() != wanted) [[unlikely]]
      fail<DTypeError>("a tensor of {} read as {}", name_of(dtype()), name_of(wanted));
  }
  explicit Tensor(Ref<Impl> impl) : impl_(std::move(impl)) {}

  Ref<Impl> impl_;
};

template <class T>
Tensor Tensor::from(std::span<const T> values, const Shape& shape) {
  require<ShapeError>(shape.numel() == int64_t(values.size()), "{} values for a tensor {}", values.size(), shape);
  Tensor t = empty(shape, dtype_of<T>);
  if (!values.empty()) std::memcpy(t.mutable_raw(), values.data(), values.size_bytes());
  return t;
}

using Tensors = std::vector<Tensor>;

}  // namespace mora
