#include "engine/tensor.h"

#include "engine/cuda.h"

namespace mora {
namespace {

bool strides_are_contiguous(const Shape& shape, const Strides& strides) {
  int64_t step = 1;
  for (int i = shape.rank() - 1; i >= 0; --i) {
    if (shape[i] != 1 && strides[i] != step) return false;
    step *= shape[i];
  }
  return true;
}

}  // namespace

Tensor::Impl::Impl(const Shape& dims, const Strides& steps, int64_t start, DType type, Ref<Storage> memory)
    : shape(dims),
      strides(steps),
      offset(start),
      numel(dims.numel()),
      storage(std::move(memory)),
      dtype(type),
      contiguous(numel == 0 || strides_are_contiguous(dims, steps)) {}

Tensor Tensor::empty(const Meta& meta) {
  const int64_t n = meta.shape.numel();
  require<ShapeError>(n <= INT64_MAX / 8, "a tensor {} is too large", meta.shape);
  return Tensor(make_ref<Impl>(meta.shape, contiguous_strides(meta.shape), 0, meta.dtype,
                               make_ref<Storage>(size_t(n) * size_of(meta.dtype), meta.device)));
}

Tensor Tensor::zeros(const Shape& shape, DType dtype, Device device) {
  Tensor t = empty(shape, dtype, device);
  void* data = t.impl().storage->data();
  if (device.kind == DeviceKind::cpu)
    std::memset(data, 0, t.bytes());
  else
    cuda::zero(data, t.bytes(), device.index);
  return t;
}

Tensor Tensor::foreign(const void* data, const Shape& shape, DType dtype, std::shared_ptr<const void> owner) {
  const size_t bytes = size_t(shape.numel()) * size_of(dtype);
  invariant(reinterpret_cast<uintptr_t>(data) % size_of(dtype) == 0, "foreign memory of {} is not aligned",
            name_of(dtype));
  return Tensor(
      make_ref<Impl>(shape, contiguous_strides(shape), 0, dtype, make_ref<Storage>(data, bytes, std::move(owner))));
}

Tensor Tensor::alias(const Shape& shape, const Strides& strides, int64_t offset) const {
  return Tensor(make_ref<Impl>(shape, strides, offset, dtype(), impl().storage));
}

Tensor Tensor::to(Device target) const {
  if (target == device()) return *this;
  // The bytes from the view's first element in memory to its last.
  int64_t first = 0, last = 0;
  for (int i = 0; i < rank(); ++i) {
    const int64_t reach = std::max<int64_t>(0, dim(i) - 1) * strides()[i];
    (reach < 0 ? first : last) += reach;
  }
  const size_t size = size_of(dtype()), bytes = numel() == 0 ? 0 : size_t(last - first + 1) * size;
  auto memory = make_ref<Storage>(bytes, target);
  if (bytes > 0) {
    const auto* from = static_cast<const std::byte*>(raw()) + first * int64_t(size);
    cuda::copy(memory->data(), target, from, device(), bytes);
  }
  if (target == cpu && cuda::check_indices) cuda::check_indices(device().index);
  return Tensor(make_ref<Impl>(shape(), strides(), numel() == 0 ? 0 : -first, dtype(), std::move(memory)));
}

double Tensor::item() const {
  require<ShapeError>(numel() == 1, "item of a tensor {}: expected one element", shape());
  if (device().kind != DeviceKind::cpu) return to(cpu).item();
  switch (dtype()) {
    case DType::f64: return *data<double>();
    case DType::f32: return double(*data<float>());
    case DType::bf16: return double(float(*data<bf16_t>()));
    case DType::f16: return double(float(*data<f16_t>()));
    case DType::i64: return double(*data<int64_t>());
    case DType::i32: return double(*data<int32_t>());
    case DType::u8: return double(*data<uint8_t>());
    case DType::boolean: return double(*data<bool>());
  }
  return 0;
}

}  // namespace mora
