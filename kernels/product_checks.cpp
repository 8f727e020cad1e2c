#include "kernels/product_checks.h"

namespace mora::kernels {
namespace {

void check_offsets(const Tensor& offsets, const char* name) {
  require<DTypeError>(offsets.dtype() == DType::i32, "attention: {} must be i32, not {}", name,
                      name_of(offsets.dtype()));
  require<ShapeError>(offsets.rank() == 1 && offsets.numel() > 0 && offsets.is_contiguous(),
                      "attention: {} must be a contiguous vector of one more entry than sequences, not {}", name,
                      offsets.shape());
}

bool has_unit_rows(const Tensor& t) { return t.rank() == 3 && (t.dim(2) <= 1 || t.strides()[2] == 1); }

}  // namespace

Gemm check_matmul(const Tensor& a, const Tensor& b, const Tensor& y, const MatmulShape& shape) {
  require<ShapeError>(a.rank() == 2 && b.rank() == 2 && y.rank() == 2, "matmul: {} by {} into {}: expected matrices",
                      a.shape(), b.shape(), y.shape());
  require<ShapeError>(a.is_contiguous() && b.is_contiguous() && y.is_contiguous(),
                      "matmul: {} by {} into {}: expected contiguous matrices", a.shape(), b.shape(), y.shape());
  const Gemm g{.m = a.dim(shape.transpose_a ? 1 : 0),
               .n = b.dim(shape.transpose_b ? 0 : 1),
               .k = a.dim(shape.transpose_a ? 0 : 1),
               .transpose_a = shape.transpose_a,
               .transpose_b = shape.transpose_b,
               .accumulate = shape.accumulate,
               .input = a.dtype(),
               .output = y.dtype()};
  require<ShapeError>(b.dim(shape.transpose_b ? 1 : 0) == g.k && y.dim(0) == g.m && y.dim(1) == g.n,
                      "matmul: {}{} by {}{} into {}: the sizes do not fit together", a.shape(),
                      shape.transpose_a ? "ᵀ" : "", b.shape(), shape.transpose_b ? "ᵀ" : "", y.shape());
  require<DTypeError>(is_floating(g.input) && b.dtype() == g.input &&
                          (g.output == g.input || (g.input == DType::bf16 && g.output == DType::f32)),
                      "matmul: {} by {} into {}: expected one floating dtype, or bf16 into f32", name_of(a.dtype()),
                      name_of(b.dtype()), name_of(y.dtype()));
  return g;
}

void check_linear(std::string_view op, const Tensor& x, int64_t x_columns, const Tensor& y, int64_t y_columns) {
  require<ShapeError>(x.rank() == 2 && x.dim(1) == x_columns && y.shape() == Shape{x.dim(0), y_columns},
                      "{}: {} into {} by a weight of {} to {}", op, x.shape(), y.shape(), x_columns, y_columns);
  require<ShapeError>(x.is_contiguous() && y.is_contiguous(), "{}: {} into {}: expected contiguous", op, x.shape(),
                      y.shape());
  require<DTypeError>(x.dtype() == y.dtype() && is_floating(x.dtype()), "{}: {} into {}: expected one floating dtype",
                      op, name_of(x.dtype()), name_of(y.dtype()));
}

void check_attention(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& q_offsets,
                     const Tensor& kv_offsets, const Tensor& y, const Tensor& lse, const AttentionShape& shape) {
  require<ShapeError>(has_unit_rows(q) && has_unit_rows(k) && has_unit_rows(v),
                      "attention: q {}, k {}, v {} must be (N, heads, D) with stride 1 in D", q.shape(), k.shape(),
                      v.shape());
  require<ShapeError>(k.shape() == v.shape() && q.dim(2) == k.dim(2) && k.dim(1) > 0 && q.dim(1) % k.dim(1) == 0,
                      "attention: q {} against k {} and v {}: D must agree, and q's heads be a multiple of k's",
                      q.shape(), k.shape(), v.shape());
  const DType statistics = compute_dtype(q.dtype());
  require<DTypeError>(is_floating(q.dtype()) && k.dtype() == q.dtype() && v.dtype() == q.dtype() &&
                          y.dtype() == q.dtype() && lse.dtype() == statistics,
                      "attention: q, k, v, y must share one floating dtype and lse be {}; they are {}, {}, {}, {}, {}",
                      name_of(statistics), name_of(q.dtype()), name_of(k.dtype()), name_of(v.dtype()),
                      name_of(y.dtype()), name_of(lse.dtype()));
  require<ShapeError>(
      y.shape() == q.shape() && y.is_contiguous() && lse.is_contiguous() && lse.shape() == Shape({q.dim(0), q.dim(1)}),
      "attention: y {} and lse {} must be contiguous and of q's shape {}", y.shape(), lse.shape(), q.shape());
  require<ShapeError>(q_offsets.numel() == kv_offsets.numel(), "attention: {} query offsets, {} kv offsets",
                      q_offsets.numel(), kv_offsets.numel());
  require<ShapeError>(shape.window == 0 || (shape.causal && shape.window > 0),
                      "attention: a window of {} needs a causal mask", shape.window);
  check_offsets(q_offsets, "q_offsets");
  check_offsets(kv_offsets, "kv_offsets");
}

void check_attention_gradient(const Tensor& q, const Tensor& k, const Tensor& gy, const Tensor& gq, const Tensor& gk,
                              const Tensor& gv) {
  require<ShapeError>(gy.shape() == q.shape() && gy.is_contiguous(), "attention: gy {} must be contiguous, of q's {}",
                      gy.shape(), q.shape());
  require<ShapeError>(gq.shape() == q.shape() && gk.shape() == k.shape() && gv.shape() == k.shape() &&
                          has_unit_rows(gq) && has_unit_rows(gk) && has_unit_rows(gv),
                      "attention: gq {}, gk {}, gv {} must have the shapes of q {} and k {}, and stride 1 in D",
                      gq.shape(), gk.shape(), gv.shape(), q.shape(), k.shape());
  for (const Tensor* t : {&gy, &gq, &gk, &gv})
    require<DTypeError>(t->dtype() == q.dtype(), "attention: a gradient of {} for q of {}", name_of(t->dtype()),
                        name_of(q.dtype()));
}

void check_operator(std::string_view op, const Tensor& wide, const Tensor& narrow, int64_t width,
                    const MoraOperator& sizes) {
  sizes.check();
  const Shape inner{wide.rank() > 0 ? wide.dim(0) : 0, sizes.chunks(), sizes.rank};
  const Shape full{inner[0], width};
  require<ShapeError>(wide.shape() == full && narrow.shape() == inner, "{}: {} with {}, expected {} with {}", op,
                      wide.shape(), narrow.shape(), full, inner);
  require<ShapeError>(wide.is_contiguous() && narrow.is_contiguous(), "{}: {} with {}: expected contiguous", op,
                      wide.shape(), narrow.shape());
  require<DTypeError>(wide.dtype() == narrow.dtype(), "{}: {} with {}: expected one dtype", op, name_of(wide.dtype()),
                      name_of(narrow.dtype()));
}

void check_mora(std::string_view op, const Tensor& x, const Tensor& m, const Tensor& y, const MoraOperator& sizes) {
  sizes.check();
  require<ShapeError>(x.shape() == Shape({y.dim(0), sizes.in}) && y.shape() == Shape({x.dim(0), sizes.out}) &&
                          m.shape() == Shape({sizes.rank, sizes.rank}),
                      "{}: x {}, M {}, y {} for {} inputs, {} outputs and rank {}", op, x.shape(), m.shape(), y.shape(),
                      sizes.in, sizes.out, sizes.rank);
  require<ShapeError>(x.is_contiguous() && m.is_contiguous() && y.is_contiguous(), "{}: expected contiguous", op);
  require<DTypeError>(x.dtype() == m.dtype() && x.dtype() == y.dtype(), "{}: x {}, M {}, y {}: expected one dtype", op,
                      name_of(x.dtype()), name_of(m.dtype()), name_of(y.dtype()));
}

void check_lora(std::string_view op, const Tensor& x, const Tensor& a, const Tensor& b, const Tensor& y,
                const Tensor& h) {
  const int64_t n = x.rank() == 2 ? x.dim(0) : -1, r = a.rank() == 2 ? a.dim(0) : -1, d = b.rank() == 2 ? b.dim(0) : -1;
  require<ShapeError>(n >= 0 && a.shape() == Shape({r, x.dim(1)}) && b.shape() == Shape({d, r}) &&
                          y.shape() == Shape({n, d}) && h.shape() == Shape({n, r}),
                      "{}: x {}, A {}, B {}, y {}, h {}", op, x.shape(), a.shape(), b.shape(), y.shape(), h.shape());
  for (const Tensor* t : {&x, &a, &b, &y, &h}) {
    require<ShapeError>(t->is_contiguous(), "{}: {}: expected contiguous", op, t->shape());
    require<DTypeError>(t->dtype() == x.dtype(), "{}: {} and {}: expected one dtype", op, name_of(x.dtype()),
                        name_of(t->dtype()));
  }
}

void check_groups(std::string_view op, const Tensor& x, const Tensor& w, const Tensor& h, const RowGroups& groups) {
  invariant(x.rank() == 2 && w.rank() == 3 && h.rank() == 2 && x.dim(1) == w.dim(2) && h.dim(1) == w.dim(1) &&
                groups.rows.dim(0) == h.dim(0) && std::ssize(groups.offsets) == w.dim(0) + 1 &&
                groups.offsets.back() == h.dim(0),
            "{}: x {}, W {}, h {} in {} groups", op, x.shape(), w.shape(), h.shape(), std::ssize(groups.offsets) - 1);
}

}  // namespace mora::kernels
