// What the kernels of products ask of their tensors on every device, and the sizes they read off them. All throw
// ShapeError or DTypeError that names the op; values that lie on a device are for the device to check.
#pragma once

#include "kernels/attention.h"
#include "kernels/grouped.h"
#include "kernels/matmul.h"
#include "kernels/mora_operator.h"

namespace mora::kernels {

// y (m, n) = op(a)·op(b) [+ y], op(a) (m, k), op(b) (k, n), op = transpose where asked; row-major.
struct Gemm {
  int64_t m = 0, n = 0, k = 0;
  bool transpose_a = false, transpose_b = false, accumulate = false;
  DType input = DType::f32, output = DType::f32;
  bool operator==(const Gemm&) const = default;
};

// kernels/matmul.h
Gemm check_matmul(const Tensor& a, const Tensor& b, const Tensor& y, const MatmulShape& shape);
void check_linear(std::string_view op, const Tensor& x, int64_t x_columns, const Tensor& y, int64_t y_columns);

// kernels/attention.h
void check_attention(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& q_offsets,
                     const Tensor& kv_offsets, const Tensor& y, const Tensor& lse, const AttentionShape& shape);
void check_attention_gradient(const Tensor& q, const Tensor& k, const Tensor& gy, const Tensor& gq, const Tensor& gk,
                              const Tensor& gv);

// kernels/mora_operator.h: wide (N, width), width = k or d; narrow (N, chunks, r̂).
void check_operator(std::string_view op, const Tensor& wide, const Tensor& narrow, int64_t width,
                    const MoraOperator& sizes);
// x (N, k), M (r̂, r̂), y (N, d).
void check_mora(std::string_view op, const Tensor& x, const Tensor& m, const Tensor& y, const MoraOperator& sizes);

// kernels/lora.h
void check_lora(std::string_view op, const Tensor& x, const Tensor& a, const Tensor& b, const Tensor& y,
                const Tensor& h);

// kernels/grouped.h
void check_groups(std::string_view op, const Tensor& x, const Tensor& w, const Tensor& h, const RowGroups& groups);

}  // namespace mora::kernels
