// A frozen linear layer: y = x·Wᵀ + b and gx = gy·W, with W packed once a direction. A few rows are multiplied by W as
// it lies: reading it once is all they take.
#include <array>
#include <optional>

#include "kernels/copy.h"
#include "kernels/cpu/gemm.h"
#include "kernels/cpu/gemv.h"
#include "kernels/cpu/linear_rows.h"
#include "kernels/cpu/onednn.h"

namespace mora::kernels {
namespace {

// The dtype in which activations of `dtype` are multiplied.
DType product_dtype(DType dtype) {
  return dtype == DType::bf16 && bf16_products() == Bf16Products::native ? DType::bf16 : DType::f32;
}

Tensor copied(const Tensor& x, DType dtype) {
  Tensor y = Tensor::empty(x.shape(), dtype, x.device());
  kernels::copy(x, y);
  return y;
}

Tensor as_dtype(const Tensor& x, DType dtype) { return x.dtype() == dtype && x.is_contiguous() ? x : copied(x, dtype); }

}  // namespace

// The forms of one weight: by direction, and by the dtype they multiply in.
struct FrozenWeight::Packed {
  enum Direction { forward, backward };

  // For f32 and bf16, packed when first asked for.
  const cpu::PackedMatrix& packed(const FrozenWeight& w, Direction direction, DType dtype) {
    auto& form = matrices[direction][dtype == DType::bf16];
    if (!form) pack(w, w.weight(), direction, dtype);
    return *form;
  }

  void pack(const FrozenWeight& w, const Tensor& weight, Direction direction, DType dtype) {
    matrices[direction][dtype == DType::bf16].emplace(as_dtype(weight, dtype), direction == forward,
                                                      direction == forward ? f32_bias(w) : Tensor());
    weight.storage()->release_pages();
  }

  // W by rows, for x of f32 or bf16: in its own dtype where that is no wider than x's, since fewer bytes are read
  // sooner. What is mapped from a file is copied: there pages are small and rows begin anywhere, and a quarter of the
  // memory's bandwidth is lost to it (measured). A weight packed for training, which generates a sample at times, is
  // not worth the memory.
  const Tensor& rows(const FrozenWeight& w, DType x) {
    auto& form = by_rows[x == DType::bf16];
    if (form.defined()) return form;
    const Tensor weight = w.weight();
    const DType own = weight.dtype(), dtype = size_of(own) <= size_of(x) ? own : x;
    const bool trains = matrices[backward][false] || matrices[backward][true];
    if (trains || !weight.storage()->is_foreign()) return form = as_dtype(weight, dtype);
    form = copied(weight, dtype);
    weight.storage()->release_pages();
    return form;
  }

  const Tensor& f32_bias(const FrozenWeight& w) {
    if (!bias.defined() && w.bias().defined()) bias = as_dtype(w.bias(), DType::f32);
    return bias;
  }

  std::array<std::array<std::optional<cpu::PackedMatrix>, 2>, 2> matrices;
  std::array<Tensor, 2> by_rows;
  Tensor bias;
  Tensor f64_weight, f64_bias;
};

FrozenWeight::FrozenWeight(Tensor weight, Tensor bias)
    : FrozenWeight(
          weight.meta(), [weight] { return weight; }, std::move(bias)) {}

FrozenWeight::FrozenWeight(const Meta& meta, std::function<Tensor()> load, Tensor bias)
    : meta_(meta), load_(std::move(load)), bias_(std::move(bias)), packed_(std::make_unique<Packed>()) {
  require<ShapeError>(meta_.shape.rank() == 2, "linear: a weight {}: expected (out, in)", meta_.shape);
  require<ShapeError>(!bias_.defined() || bias_.shape() == Shape{out()}, "linear: a weight {} with a bias {}",
                      meta_.shape, bias_.defined() ? bias_.shape() : Shape());
  require<DTypeError>(is_floating(meta_.dtype), "linear: a weight of {}: expected floating", name_of(meta_.dtype));
}

FrozenWeight::~FrozenWeight() = default;

int64_t FrozenWeight::packed_bytes() const {
  int64_t sum = 0;
  for (const auto& direction : packed_->matrices)
    for (const auto& form : direction)
      if (form) sum += form->bytes();
  for (const Tensor& rows : packed_->by_rows)
    if (rows.defined() && rows.raw() != weight().raw()) sum += int64_t(rows.bytes());
  if (meta_.dtype != DType::f64)
    for (const Tensor* f64 : {&packed_->f64_weight, &packed_->f64_bias})
      if (f64->defined()) sum += int64_t(f64->bytes());
  return sum;
}

void FrozenWeight::pack(DType dtype) const {
  const Tensor weight = this->weight();
  for (const auto direction : {Packed::forward, Packed::backward})
    packed_->pack(*this, weight, direction, product_dtype(dtype));
}

void FrozenWeight::drop_rows() const { packed_->by_rows = {}; }

void FrozenWeight::drop_packed() const {
  for (auto& direction : packed_->matrices)
    for (auto& form : direction) form.reset();
  drop_rows();
  packed_->bias = packed_->f64_weight = packed_->f64_bias = Tensor();
  residents_.clear();
}

FrozenWeight::Resident FrozenWeight::resident(Device device, DType dtype) const {
  for (const Resident& resident : residents_)
    if (resident.weight.device() == device && resident.weight.dtype() == dtype) return resident;
  const Tensor loaded = weight();
  const Resident made{as_dtype(loaded, dtype).to(device),
                      bias_.defined() ? as_dtype(bias_, dtype).to(device) : Tensor()};
  if (device != loaded.device()) loaded.storage()->release_pages();
  return residents_.emplace_back(made);
}

namespace cpu {
namespace {

using Packed = FrozenWeight::Packed;

// f64: as it is, or a copy. Only gradient checks come here.
void multiply_f64(const Tensor& x, const FrozenWeight& w, Tensor& y, Packed::Direction direction) {
  auto& packed = w.packed();
  if (!packed.f64_weight.defined()) packed.f64_weight = as_dtype(w.weight(), DType::f64);
  const bool forward = direction == Packed::forward;
  if (forward && w.bias().defined()) {
    if (!packed.f64_bias.defined()) packed.f64_bias = as_dtype(w.bias(), DType::f64);
    kernels::copy(packed.f64_bias.alias(y.shape(), {0, 1}, packed.f64_bias.offset()), y);
  }
  kernels::matmul(x, packed.f64_weight, y,
                  {.transpose_b = forward, .accumulate = forward && packed.f64_bias.defined()});
}

// y = [y +] …, but for f64
void multiply(const Tensor& x, const FrozenWeight& w, Tensor& y, Packed::Direction direction, bool accumulate = false) {
  if (y.numel() == 0) return;
  if (x.dtype() == DType::f64) return multiply_f64(x, w, y, direction);
  const DType dtype = product_dtype(x.dtype());
  const auto& packed = w.packed().packed(w, direction, dtype);
  if (x.dtype() == dtype) return packed.multiply(x.raw(), y.mutable_raw(), x.dim(0), accumulate);
  const Tensor wide_x = as_dtype(x, DType::f32);
  Tensor wide_y = accumulate ? copied(y, DType::f32) : Tensor::empty(y.shape(), DType::f32);
  packed.multiply(wide_x.raw(), wide_y.mutable_raw(), x.dim(0), accumulate);
  kernels::copy(wide_y, y);
}

bool takes_gemv(const Tensor& x) {
  return x.dim(0) > 0 && x.dim(0) <= gemv_most_rows && (x.dtype() == DType::f32 || x.dtype() == DType::bf16);
}

}  // namespace

GemvTerm gemv_term(const FrozenWeight& w, DType x, void* y) {
  const Tensor &rows = w.packed().rows(w, x), &bias = w.packed().f32_bias(w);
  return {.w = rows.raw(),
          .bias = bias.defined() ? bias.data<float>() : nullptr,
          .y = y,
          .n = w.out(),
          .k = w.in(),
          .w_dtype = rows.dtype()};
}

void linear(const Tensor& x, const FrozenWeight& w, Tensor& y) {
  check_linear("linear", x, w.in(), y, w.out());
  if (!takes_gemv(x)) return multiply(x, w, y, Packed::forward);
  const GemvTerm term = gemv_term(w, x.dtype(), y.mutable_raw());
  gemv(x, {&term, 1});
}

void linear_backward(const Tensor& gy, const FrozenWeight& w, Tensor& gx) {
  check_linear("linear_backward", gy, w.out(), gx, w.in());
  multiply(gy, w, gx, Packed::backward);
}

LinearRows::LinearRows(const Tensor& x, const FrozenWeight& w, Tensor& y, Direction direction, int64_t pieces,
                       bool accumulate)
    : accumulate_(accumulate) {
  const bool forward = direction == Direction::forward;
  check_linear(forward ? "linear" : "linear_backward", x, forward ? w.in() : w.out(), y, forward ? w.out() : w.in());
  const int64_t rows = x.dim(0), count = threads();
  const bool busy = pieces % count == 0 || pieces >= 4 * count;  // every thread, nearly all the time
  if (x.dtype() == DType::f64 || x.dtype() != product_dtype(x.dtype()) || rows < least_rows_alone * count || !busy) {
    forward ? cpu::linear(x, w, y) : multiply(x, w, y, Packed::backward, accumulate);
    return;
  }
  matrix_ = &w.packed().packed(w, forward ? Packed::forward : Packed::backward, x.dtype());
  x_ = static_cast<const std::byte*>(x.raw());
  y_ = static_cast<std::byte*>(y.mutable_raw());
  x_row_ = x.dim(1) * int64_t(size_of(x.dtype()));
  y_row_ = y.dim(1) * int64_t(size_of(y.dtype()));
}

void LinearRows::operator()(int64_t begin, int64_t end) const {
  if (matrix_) matrix_->multiply_alone(x_ + begin * x_row_, y_ + begin * y_row_, end - begin, accumulate_);
}

}  // namespace cpu

void linears(const Tensor& x, std::span<const FrozenWeight* const> weights, std::span<Tensor> ys) {
  if (x.device() != mora::cpu || !cpu::takes_gemv(x)) {
    for (size_t i = 0; i < weights.size(); ++i) linear(x, *weights[i], ys[i]);
    return;
  }
  std::vector<cpu::GemvTerm> terms;
  for (size_t i = 0; i < weights.size(); ++i) {
    check_linear("linears", x, weights[i]->in(), ys[i], weights[i]->out());
    terms.push_back(cpu::gemv_term(*weights[i], x.dtype(), ys[i].mutable_raw()));
  }
  cpu::gemv(x, terms);
}

}  // namespace mora::kernels
