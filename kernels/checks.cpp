#include "kernels/checks.h"

namespace mora::kernels {
namespace {

Shape shape_of(const Tensor& t) { return t.defined() ? t.shape() : Shape(); }

void check_like(std::string_view op, const Tensor& x, const Tensor& t, std::string_view name) {
  require<ShapeError>(!t.defined() || (t.shape() == x.shape() && t.is_contiguous()),
                      "{}: {} {} must be contiguous and of x's shape {}", op, name, shape_of(t), x.shape());
}
void check_weights(std::string_view op, const Tensor& x, const Tensor& t, std::string_view name) {
  require<ShapeError>(!t.defined() || (t.shape() == Shape({x.dim(-1)}) && t.is_contiguous()),
                      "{}: {} {} must be ({}), as x is {}", op, name, shape_of(t), x.dim(-1), x.shape());
}
void check_statistics(std::string_view op, const Tensor& x, const Tensor& t, std::string_view name) {
  require<ShapeError>(!t.defined() || (t.is_contiguous() && t.numel() * x.dim(-1) == x.numel()), "{}: {} {} for x {}",
                      op, name, shape_of(t), x.shape());
}
}  // namespace

void check_device(std::string_view op, Device device, const Tensor& t) {
  require<DeviceError>(t.device() == device, "{}: tensors on {} and {}", op, to_string(device), to_string(t.device()));
}

void check_alike(std::string_view op, const Tensor& x, std::initializer_list<const Tensor*> others) {
  for (const Tensor* other : others)
    invariant(x.is_contiguous() && other->is_contiguous() && x.shape() == other->shape() && x.dtype() == other->dtype(),
              "{}: tensors {} {} and {} {}", op, x.shape(), name_of(x.dtype()), other->shape(),
              name_of(other->dtype()));
}

void check_reduce(const Tensor& x, const Tensor& y, uint32_t dims) {
  Shape expected = x.shape();
  for (int i = 0; i < x.rank(); ++i)
    if (dims >> i & 1u) expected[i] = 1;
  invariant(x.is_contiguous() && y.is_contiguous() && y.shape() == expected, "reduce: {} into {}", x.shape(),
            y.shape());
}

void check_segments(std::string_view op, const Tensor& rows, const Tensor& offsets, const Tensor& segments) {
  invariant(rows.rank() == 2 && segments.rank() == 2 && rows.dim(1) == segments.dim(1) && rows.is_contiguous() &&
                segments.is_contiguous() && rows.dtype() == segments.dtype() && offsets.rank() == 1 &&
                offsets.is_contiguous() && offsets.dim(0) == segments.dim(0) + 1,
            "{}: rows {}, offsets {}, segments {}", op, rows.shape(), offsets.shape(), segments.shape());
}

void check_rows_by_index(std::string_view op, const Tensor& table, const Tensor& ids, const Tensor& rows) {
  invariant(table.rank() == 2 && rows.rank() == 2 && table.dim(1) == rows.dim(1) && table.is_contiguous() &&
                rows.is_contiguous() && ids.rank() == 1 && ids.is_contiguous() && ids.dim(0) == rows.dim(0) &&
                ids.dtype() == DType::i32,
            "{}: table {}, ids {}, rows {}", op, table.shape(), ids.shape(), rows.shape());
}

void check_norm(std::string_view op, const Tensor& x, const Tensor& w, const Tensor& b, const Tensor& y,
                const Tensor& mean, const Tensor& rstd) {
  check_like(op, x, x, "x");
  check_like(op, x, y, "y");
  check_weights(op, x, w, "w");
  check_weights(op, x, b, "b");
  check_statistics(op, x, mean, "mean");
  check_statistics(op, x, rstd, "rstd");
}

void check_norm_backward(std::string_view op, const Tensor& x, const Tensor& w, const Tensor& mean, const Tensor& rstd,
                         const Tensor& gy, const Tensor& gx, const Tensor& gw, const Tensor& gb) {
  check_like(op, x, x, "x");
  check_like(op, x, gy, "gy");
  check_like(op, x, gx, "gx");
  check_weights(op, x, w, "w");
  check_weights(op, x, gw, "gw");
  check_weights(op, x, gb, "gb");
  check_statistics(op, x, mean, "mean");
  check_statistics(op, x, rstd, "rstd");
}

void check_softmax(std::string_view op, const Tensor& x, std::initializer_list<const Tensor*> others) {
  for (const Tensor* other : others)
    require<ShapeError>(x.rank() == 2 && x.is_contiguous() && other->is_contiguous() && other->shape() == x.shape(),
                        "{}: {} and {} must be contiguous (N, V) of one shape", op, x.shape(), other->shape());
}

void check_cross_entropy(std::string_view op, const Tensor& x, const Tensor& labels, const Tensor& loss,
                         const Tensor& lse) {
  require<ShapeError>(labels.shape() == Shape({x.dim(0)}) && labels.is_contiguous(), "{}: labels {} for scores {}", op,
                      labels.shape(), x.shape());
  require<ShapeError>(loss.numel() == x.dim(0) && lse.numel() == x.dim(0), "{}: losses {}, lse {} for scores {}", op,
                      loss.shape(), lse.shape(), x.shape());
}

void reject_label(int32_t label, int64_t classes) {
  fail<ShapeError>("cross_entropy: label {} of {} classes", label, classes);
}

void check_rotary(const Tensor& x, const Tensor& positions, const Tensor& cos, const Tensor& sin, const Tensor& y) {
  require<ShapeError>(x.rank() == 3 && x.dim(2) % 2 == 0 && (x.dim(2) == 0 || x.strides()[2] == 1),
                      "rotary: x {} must be (N, H, D) with an even D of stride 1", x.shape());
  require<ShapeError>(y.shape() == x.shape() && y.is_contiguous(), "rotary: y {} must be contiguous, of x's {}",
                      y.shape(), x.shape());
  require<ShapeError>(positions.shape() == Shape({x.dim(0)}) && positions.is_contiguous(),
                      "rotary: {} positions for x {}", positions.shape(), x.shape());
  require<ShapeError>(cos.rank() == 2 && cos.dim(1) == x.dim(2) / 2 && cos.shape() == sin.shape() &&
                          cos.is_contiguous() && sin.is_contiguous(),
                      "rotary: cos {} and sin {} must be (positions, {})", cos.shape(), sin.shape(), x.dim(2) / 2);
}

void reject_position(int32_t position, int64_t limit) {
  fail<ShapeError>("rotary: position {}, but cos and sin hold {}", position, limit);
}

void check_term(std::string_view op, Device device, const Tensor& parameter,
                std::initializer_list<const Tensor*> others) {
  check_device(op, device, parameter);
  require<DTypeError>(parameter.dtype() == DType::f32 || parameter.dtype() == DType::f64,
                      "{}: a parameter of {}: expected f32 or f64", op, name_of(parameter.dtype()));
  require<ShapeError>(parameter.is_contiguous(), "{}: a parameter {} that is not contiguous", op, parameter.shape());
  for (const Tensor* other : others) {
    if (!other->defined()) continue;
    check_device(op, device, *other);
    require<ShapeError>(other->is_contiguous() && other->meta() == parameter.meta(),
                        "{}: a parameter {} of {} with a gradient or moment {} of {}", op, parameter.shape(),
                        name_of(parameter.dtype()), other->shape(), name_of(other->dtype()));
  }
}

void check_pairs(std::string_view op, Device device, std::span<const Tensor> xs, std::span<const Tensor> ys) {
  require<ShapeError>(xs.size() == ys.size(), "{}: {} tensors with {}", op, xs.size(), ys.size());
  for (size_t i = 0; i < xs.size(); ++i) {
    check_device(op, device, xs[i]);
    check_device(op, device, ys[i]);
    require<ShapeError>(xs[i].is_contiguous() && ys[i].is_contiguous() && xs[i].meta() == ys[i].meta(),
                        "{}: a tensor {} that is not contiguous, or not as its partner {}", op, xs[i].shape(),
                        ys[i].shape());
  }
}

void check_scaled(Device device, const Tensor& t) {
  check_device("scale_all", device, t);
  require<ShapeError>(t.is_contiguous(), "scale_all: a tensor {} that is not contiguous", t.shape());
}

}  // namespace mora::kernels
