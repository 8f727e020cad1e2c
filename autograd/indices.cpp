#include "autograd/indices.h"

#include <algorithm>

namespace mora {

Indices::Indices(const Tensor& values) : host_(values), kernels_(values) {
  require<DTypeError>(values.dtype() == DType::i32 && values.rank() == 1, "indices: expected i32 (n), not {} {}",
                      name_of(values.dtype()), values.shape());
  require<DeviceError>(values.device() == cpu, "indices on {}: give them on the processor, and call `to`",
                       to_string(values.device()));
}

Indices Indices::to(Device device) const {
  Indices result = *this;
  if (defined() && kernels_.device() != device) result.kernels_ = host_.to(device);
  return result;
}

void check_offsets(std::string_view what, const Indices& offsets, int64_t rows) {
  const auto ends = offsets.values();
  require<ShapeError>(
      !ends.empty() && ends.front() == 0 && ends.back() == rows && std::is_sorted(ends.begin(), ends.end()),
      "{} must rise from 0 to {}", what, rows);
}

}  // namespace mora
