#include "engine/tensor.h"

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
  std::memset(t.impl().storage->data(), 0, t.bytes());
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

double Tensor::item() const {
  require<ShapeError>(numel() == 1, "item of a tensor {}: expected one element", shape());
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
