// A MoRA's update and its gradients, a block of tokens at a time: C(x), the products with M and D follow each other in
// the first caches. In f32 for 16-bit tensors.
#include "kernels/mora_operator.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/mora_update.cpp"
#include "kernels/cpu/foreach_target.h"
#include "kernels/cpu/narrow_tile.h"
#include "kernels/cpu/operator_rows.h"
#include "kernels/cpu/simd.h"

#include "engine/parallel.h"
#include "kernels/cpu/elements.h"
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
  Panels<D> panels;

  explicit Blocks(const MoraOperator& op)
      : in_side(side_of<float>(op, true)),
        out_side(side_of<float>(op, false)),
        in(*in_side),
        out(*out_side),
        rank(op.rank),
        narrow(in.slots * op.rank),
        tokens(in.slots == 1 ? 24 : 16),
        rows(tokens * in.slots),
        panels(D(), op.rank) {}

  // (rows, r̂), and what a tile reads beyond.
  Scratch<float> room() const {
    const int64_t n = rows * rank + std::max(tile_rows, 2 * panels.vector);
    Scratch<float> made(n);
    std::fill_n(made.data(), n, 0.0f);
    return made;
  }
};

template <class T>
void update(const Tensor& x, const Tensor& m, Tensor& y, const MoraOperator& op) {
  const Blocks blocks(op);
  const RowFactor factor(m.data<T>(), op.rank, op.rank, true);
  const T* px = x.data<T>();
  T* py = y.mutable_data<T>();
  const int64_t n = x.dim(0);
  const int64_t grain = grain_of(blocks.rows * op.rank * op.rank);
  parallel_for(ceil_div(n, blocks.tokens), grain, [&](int64_t begin_block, int64_t end_block) HWY_ATTR {
    const Scratch<float> s = blocks.room(), z = blocks.room(), wide(std::max(op.in, op.out)), chunk(op.rank);
    const Scratch<float> tile(tile_rows * op.rank);
    for (int64_t first = begin_block * blocks.tokens; first < std::min(n, end_block * blocks.tokens);
         first += blocks.tokens) {
      const int64_t count = std::min(blocks.tokens, n - first);
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

// gM is summed over parts of the tokens, cut by the shape alone, so that a result does not depend on the threads.
template <class T>
class Backward {
 public:
  Backward(const Tensor& x, const Tensor& m, const Tensor& gy, Tensor& gx, Tensor& gm, const MoraOperator& op)
      : op_(op),
        blocks_(op),
        n_(x.dim(0)),
        x_(x.data<T>()),
        gy_(gy.data<T>()),
        gx_(gx.defined() ? gx.mutable_data<T>() : nullptr),
        gm_(gm.defined() ? gm.mutable_data<T>() : nullptr),
        tiles_(ceil_div(op.rank, tile_rows)),
        row_(blocks_.panels.padded_columns()) {
    if (gx_) factor_ = RowFactor(m.data<T>(), op.rank, op.rank, false);
    while (parts_ < 32 && n_ * blocks_.in.slots >= 2 * parts_ * least_rows) parts_ *= 2;
    if (gm_) sums_ = Scratch<float>(parts_ * part_size());
  }

  void run() {
    parallel_for(parts_, grain_of(n_ / parts_ * blocks_.narrow * op_.rank), [&](int64_t begin, int64_t end) HWY_ATTR {
      for (int64_t part = begin; part < end; ++part) add_part(part);
    });
    if (gm_)
      parallel_for(op_.rank, 16, [&](int64_t begin, int64_t end) HWY_ATTR {
        for (int64_t i = begin; i < end; ++i) write_row(i);
      });
  }

 private:
  static constexpr int64_t least_rows = 96;  // of a part

  int64_t part_size() const { return tiles_ * tile_rows * row_; }

  void add_part(int64_t part) const {
    const Scratch<float> gz = blocks_.room(), s = blocks_.room(), gs = blocks_.room();
    const Scratch<float> wide(std::max(op_.in, op_.out)), chunk(op_.rank), tile(tile_rows * op_.rank);
    float* sum = sums_.data() + part * part_size();
    if (gm_) std::fill_n(sum, part_size(), 0.0f);
    const int64_t end = n_ * (part + 1) / parts_;
    for (int64_t first = n_ * part / parts_; first < end; first += blocks_.tokens) {
      const int64_t count = std::min(blocks_.tokens, end - first);
      for (int64_t i = 0; i < count; ++i)
        gather(blocks_.out, read_row(gy_ + (first + i) * op_.out, op_.out, wide.data()), gz.data() + i * blocks_.narrow,
               chunk.data());
      if (gm_) {
        for (int64_t i = 0; i < count; ++i)
          gather(blocks_.in, read_row(x_ + (first + i) * op_.in, op_.in, wide.data()), s.data() + i * blocks_.narrow,
                 chunk.data());
        add_outer_product(count * blocks_.in.slots, gz.data(), s.data(), sum);
      }
      if (!gx_) continue;
      factor_.multiply(gz.data(), count * blocks_.in.slots, gs.data(), false, tile.data());
      for (int64_t i = 0; i < count; ++i)
        scatter_row(blocks_.in, gs.data() + i * blocks_.narrow, gx_ + (first + i) * op_.in, true, wide.data(),
                    chunk.data());
    }
  }

  // sum += gzᵀ·s. Columns of a tile beyond r̂ belong to the next row, and are not read in the end.
  void add_outer_product(int64_t rows, const float* gz, const float* s, float* sum) const {
    for (int64_t p = 0; p < blocks_.panels.count; ++p)
      for (int64_t t = 0; t < tiles_; ++t)
        multiply_panel(D(), rows, Left<UnitRow>{gz + t * tile_rows, {}, op_.rank}, s + blocks_.panels.begin(p),
                       op_.rank,
                       Target<float>{sum + t * tile_rows * row_ + blocks_.panels.begin(p), row_, tile_rows,
                                     blocks_.panels.width(p), true});
  }

  // Row i of gM: the parts' sums, in order.
  void write_row(int64_t i) const {
    const D d;
    for_each_vector(d, op_.rank, [&](int64_t j, auto... count) HWY_ATTR {
      auto total = load(d, sums_.data() + i * row_ + j, count...);
      for (int64_t part = 1; part < parts_; ++part)
        total = hn::Add(total, load(d, sums_.data() + part * part_size() + i * row_ + j, count...));
      store(total, d, gm_ + i * op_.rank + j, count...);
    });
  }

  const MoraOperator& op_;
  Blocks blocks_;
  int64_t n_;
  const T *x_, *gy_;
  T *gx_, *gm_;
  int64_t tiles_, row_;
  int64_t parts_ = 1;
  RowFactor factor_;
  Scratch<float> sums_;  // (parts, tiles · 8, row)
};

template <class F>
void visit_computed_in_f32(DType dtype, F f) {
  visit_floating(dtype, "mora_update", [&]<class T>(T) {
    if constexpr (std::is_same_v<Compute<T>, float>) f(T());
  });
}

void update_target(const Tensor& x, const Tensor& m, Tensor& y, const MoraOperator& op) {
  visit_computed_in_f32(x.dtype(), [&]<class T>(T) { update<T>(x, m, y, op); });
}
void update_backward_target(const Tensor& x, const Tensor& m, const Tensor& gy, Tensor& gx, Tensor& gm,
                            const MoraOperator& op) {
  visit_computed_in_f32(x.dtype(), [&]<class T>(T) { Backward<T>(x, m, gy, gx, gm, op).run(); });
}

}  // namespace
}  // namespace mora::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mora::kernels::cpu {
namespace {

HWY_EXPORT(update_target);
HWY_EXPORT(update_backward_target);

// Larger M are plain products, and f64 is for checks.
bool is_blocked(const MoraOperator& op, DType dtype) { return op.rank <= 128 && dtype != DType::f64; }

}  // namespace

void mora_update(const Tensor& x, const Tensor& m, Tensor& y, const MoraOperator& op) {
  if (!is_blocked(op, x.dtype())) return compose_mora_update(x, m, y, op);
  check_mora_update("mora_update", x, m, y, op);
  HWY_DYNAMIC_DISPATCH(update_target)(x, m, y, op);
}

void mora_update_backward(const Tensor& x, const Tensor& m, const Tensor& gy, Tensor& gx, Tensor& gm,
                          const MoraOperator& op) {
  if (!is_blocked(op, x.dtype())) return compose_mora_update_backward(x, m, gy, gx, gm, op);
  check_mora_update("mora_update_backward", x, m, gy, op);
  HWY_DYNAMIC_DISPATCH(update_backward_target)(x, m, gy, gx, gm, op);
}

}  // namespace mora::kernels::cpu
#endif
