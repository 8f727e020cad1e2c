// Integers of a batch that ops are steered by: token ids, positions, where sequences begin.
#pragma once

#include <string_view>

#include "engine/tensor.h"

namespace mora {

// i32 (n), on the processor, where ops check them, and on the device whose kernels read them: the same tensor, or a
// copy that `to` made once for all the ops of a batch.
class Indices {
 public:
  Indices() = default;  // undefined
  // Throws DTypeError unless they are i32 (n) on the processor.
  Indices(const Tensor& values);  // NOLINT(google-explicit-constructor): on the processor, a tensor is all of them
  Indices to(Device device) const;

  bool defined() const { return host_.defined(); }
  int64_t size() const { return host_.numel(); }
  std::span<const int32_t> values() const { return host_.values<int32_t>(); }
  const Tensor& tensor() const { return kernels_; }  // where kernels read it

 private:
  Tensor host_, kernels_;
};

// Throws ShapeError that names `what` unless the offsets, (B+1), rise from 0 to `rows`.
void check_offsets(std::string_view what, const Indices& offsets, int64_t rows);

}  // namespace mora
