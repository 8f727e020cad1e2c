// What a kernel asks of its tensors on every device. Undefined tensors pass. Each throws ShapeError that names the op.
#pragma once

#include <initializer_list>

#include "engine/tensor.h"

namespace mora::kernels {

// DeviceError unless t is on `device`.
void check_device(std::string_view op, Device device, const Tensor& t);

// kernels/unary.h: contiguous tensors of one shape and dtype.
void check_alike(std::string_view op, const Tensor& x, std::initializer_list<const Tensor*> others);

// kernels/reduce.h. `rows` (N, d) cut by `offsets` into `segments` (B, d): the values of offsets are not looked at.
void check_reduce(const Tensor& x, const Tensor& y, uint32_t dims);
void check_segments(std::string_view op, const Tensor& rows, const Tensor& offsets, const Tensor& segments);

// kernels/copy.h. `rows` (n, d) by `ids` (n) from or to `table` (N, d): the values of ids are for the device to check.
void check_rows_by_index(std::string_view op, const Tensor& table, const Tensor& ids, const Tensor& rows);

// kernels/norm.h; RMS norm has no b, mean, gb.
void check_norm(std::string_view op, const Tensor& x, const Tensor& w, const Tensor& b, const Tensor& y,
                const Tensor& mean, const Tensor& rstd);
void check_norm_backward(std::string_view op, const Tensor& x, const Tensor& w, const Tensor& mean, const Tensor& rstd,
                         const Tensor& gy, const Tensor& gx, const Tensor& gw, const Tensor& gb);

// kernels/softmax.h. The values of labels are for the device to check.
void check_softmax(std::string_view op, const Tensor& x, std::initializer_list<const Tensor*> others);
void check_cross_entropy(std::string_view op, const Tensor& x, const Tensor& labels, const Tensor& loss,
                         const Tensor& lse);
[[noreturn]] void reject_label(int32_t label, int64_t classes);

// kernels/attention.h. The values of positions are for the device to check.
void check_rotary(const Tensor& x, const Tensor& positions, const Tensor& cos, const Tensor& sin, const Tensor& y);
[[noreturn]] void reject_position(int32_t position, int64_t limit);

// kernels/optimizer.h: a parameter, f32 or f64 (DTypeError otherwise), with its gradient and moments on `device`
// (DeviceError otherwise).
void check_term(std::string_view op, Device device, const Tensor& parameter,
                std::initializer_list<const Tensor*> others);
// A tensor to scale, on `device`.
void check_scaled(Device device, const Tensor& t);
// Two lists of tensors for products, on `device`.
void check_pairs(std::string_view op, Device device, std::span<const Tensor> xs, std::span<const Tensor> ys);

}  // namespace mora::kernels
