// A frozen linear with a MoRA, a chunk of tokens at a time: the product with W, then C(x), the product with M and D,
// which follow each other in the first caches. The adapter in f32 for 16-bit tensors.
#include "kernels/mora_operator.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/mora_linear.cpp"
#include "kernels/cpu/foreach_target.h"
#include "kernels/cpu/narrow_tile.h"
#include "kernels/cpu/operator_rows.h"
#include "kernels/cpu/outer_sums.h"
#include "kernels/cpu/simd.h"

#include "kernels/cpu/elements.h"
#include "kernels/cpu/linear_rows.h"
#include "kernels/product_checks.h"

HWY_BEFORE_NAMESPACE();
namespace mora::kernels::cpu::HWY_NAMESPACE {
namespace {

using D = hn::ScalableTag<float>;

// What forward and backward share: both sides, and room for a block of tokens.
struct Blocks {
  std::shared_ptr<const Side<float>> in_side, out_side;
  const Side<float>&in, &out;
  int64_t rank, narrow;  // r̂; slots · r̂
  int64_t tokens, rows;  // of a block: rows of r̂, in whole tiles

  explicit Blocks(const MoraOperator& op)
      : in_side(side_of<float>(op, true)),
        out_side(side_of<float>(op, false)),
        in(*in_side),
        out(*out_side),
        rank(op.rank),
        narrow(in.slots * op.rank),
        tokens(in.slots == 1 ? 24 : 16),
        rows(tokens * in.slots) {}

  // (rows, r̂), and what a tile reads beyond.
  int64_t room_size() const { return rows * rank + std::max(tile_rows, 2 * lanes(D())); }
  Scratch<float> room() const {
    Scratch<float> made(room_size());
    std::fill_n(made.data(), room_size(), 0.0f);
    return made;
  }
};

template <class T>
void forward(const Tensor& x, const FrozenWeight& w, const Tensor& m, Tensor& y, const MoraOperator& op) {
  const int64_t n = x.dim(0);
  const LinearRows product(x, w, y, LinearRows::Direction::forward, n / unit_of_rows(n));
  const Blocks blocks(op);
  const RowFactor factor(m.data<T>(), op.rank, op.rank, true);
  const T* px = x.data<T>();
  T* py = y.mutable_data<T>();
  parallel_for_rows(n, grain_of(blocks.narrow * op.rank), [&](int64_t begin, int64_t end) HWY_ATTR {
    const Scratch<float> s = blocks.room(), z = blocks.room(), wide(std::max(op.in, op.out)), chunk(op.rank);
    const Scratch<float> tile(tile_rows * op.rank);
    RowsAhead ahead(product, begin, end);
    for (int64_t first = begin; first < end; first += blocks.tokens) {
      const int64_t count = std::min(blocks.tokens, end - first);
      ahead.reach(first + count);
      for (int64_t i = 0; i < count; ++i)
        gather(blocks.in, read_row(px + (first + i) * op.in, op.in, wide.data()), s.data() + i * blocks.narrow,
               chunk.data());
      factor.multiply(s.data(), count * blocks.in.slots, z.data(), false, tile.data());
      for (int64_t i = 0; i < count; ++i)
        scatter_row(blocks.out, z.data() + i * blocks.narrow, py + (first + i) * op.out, true, wide.data(),
                    chunk.data());
    }
  });
}

// gM is summed over parts of the tokens.
template <class T>
class Backward {
 public:
  Backward(const Tensor& x, const FrozenWeight& w, const Tensor& m, const Tensor& gy, Tensor& gx, Tensor& gm,
           const MoraOperator& op)
      : op_(op),
        blocks_(op),
        n_(x.dim(0)),
        x_(x.data<T>()),
        gy_(gy.data<T>()),
        gx_(gx.defined() ? gx.mutable_data<T>() : nullptr),
        gm_(gm.defined() ? gm.mutable_data<T>() : nullptr),
        place_{op.rank, op.rank},
        parts_(parts_of(n_ * blocks_.in.slots, 32)) {
    if (gx_) {
      product_ = LinearRows(gy, w, gx, LinearRows::Direction::backward, parts_);
      factor_ = RowFactor(m.data<T>(), op.rank, op.rank, false);
    }
    if (gm_) sums_ = Scratch<float>(parts_ * place_.size);
  }

  void run() {
    parallel_for(parts_, grain_of(n_ / parts_ * blocks_.narrow * op_.rank), [&](int64_t begin, int64_t end) HWY_ATTR {
      RowsAhead ahead(product_, part_begin(n_, begin, parts_), part_begin(n_, end, parts_));
      for (int64_t part = begin; part < end; ++part) add_part(part, ahead);
    });
    if (gm_)
      parallel_for(place_.panels.count, 1, [&](int64_t begin, int64_t end) HWY_ATTR {
        for (int64_t p = begin; p < end; ++p) place_.write(p, parts_, place_.size, sums_.data(), false, false, gm_);
      });
  }

 private:
  void add_part(int64_t part, RowsAhead& ahead) const {
    const Scratch<float> gz = blocks_.room(), s = blocks_.room(), gs = blocks_.room();
    const Scratch<float> wide(std::max(op_.in, op_.out)), chunk(op_.rank), tile(tile_rows * op_.rank);
    float* sum = sums_.data() + part * place_.size;
    if (gm_) std::fill_n(sum, place_.size, 0.0f);
    const int64_t end = part_begin(n_, part + 1, parts_);
    for (int64_t first = part_begin(n_, part, parts_); first < end; first += blocks_.tokens) {
      const int64_t count = std::min(blocks_.tokens, end - first);
      ahead.reach(first + count);
      for (int64_t i = 0; i < count; ++i)
        gather(blocks_.out, read_row(gy_ + (first + i) * op_.out, op_.out, wide.data()), gz.data() + i * blocks_.narrow,
               chunk.data());
      if (gm_) {
        for (int64_t i = 0; i < count; ++i)
          gather(blocks_.in, read_row(x_ + (first + i) * op_.in, op_.in, wide.data()), s.data() + i * blocks_.narrow,
                 chunk.data());
        place_.add(0, place_.panels.count, count * blocks_.in.slots, Left<UnitRow>{gz.data(), {}, op_.rank},
                   Right<float>{s.data(), s.data() + blocks_.room_size()}, nullptr, true, sum);
      }
      if (!gx_) continue;
      factor_.multiply(gz.data(), count * blocks_.in.slots, gs.data(), false, tile.data());
      for (int64_t i = 0; i < count; ++i)
        scatter_row(blocks_.in, gs.data() + i * blocks_.narrow, gx_ + (first + i) * op_.in, true, wide.data(),
                    chunk.data());
    }
  }

  const MoraOperator& op_;
  Blocks blocks_;
  int64_t n_;
  const T *x_, *gy_;
  T *gx_, *gm_;
  LinearRows product_;
  OuterSums place_;  // of gM
  int64_t parts_;
  RowFactor factor_;
  Scratch<float> sums_;  // one a part
};

template <class F>
void visit_computed_in_f32(DType dtype, F f) {
  visit_floating(dtype, "mora_linear", [&]<class T>(T) {
    if constexpr (std::is_same_v<Compute<T>, float>) f(T());
  });
}

void forward_target(const Tensor& x, const FrozenWeight& w, const Tensor& m, Tensor& y, const MoraOperator& op) {
  visit_computed_in_f32(x.dtype(), [&]<class T>(T) { forward<T>(x, w, m, y, op); });
}
void backward_target(const Tensor& x, const FrozenWeight& w, const Tensor& m, const Tensor& gy, Tensor& gx, Tensor& gm,
                     const MoraOperator& op) {
  visit_computed_in_f32(x.dtype(), [&]<class T>(T) { Backward<T>(x, w, m, gy, gx, gm, op).run(); });
}

}  // namespace
}  // namespace mora::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mora::kernels::cpu {
namespace {

HWY_EXPORT(forward_target);
HWY_EXPORT(backward_target);

// Larger M are plain products, and f64 is for checks.
bool is_blocked(const MoraOperator& op, DType dtype) { return op.rank <= 128 && dtype != DType::f64; }

}  // namespace

void mora_linear(const Tensor& x, const FrozenWeight& w, const Tensor& m, Tensor& y, const MoraOperator& op) {
  check_mora("mora_linear", x, m, y, op);
  if (!is_blocked(op, x.dtype())) return compose_mora_linear(x, w, m, y, op);
  HWY_DYNAMIC_DISPATCH(forward_target)(x, w, m, y, op);
}

void mora_linear_backward(const Tensor& x, const FrozenWeight& w, const Tensor& m, const Tensor& gy, Tensor& gx,
                          Tensor& gm, const MoraOperator& op) {
  check_mora("mora_linear_backward", x, m, gy, op);
  if (!is_blocked(op, x.dtype())) return compose_mora_linear_backward(x, w, m, gy, gx, gm, op);
  HWY_DYNAMIC_DISPATCH(backward_target)(x, w, m, gy, gx, gm, op);
}

}  // namespace mora::kernels::cpu
#endif
