// What a MoRA adds to rows of its linear's output, and its gradients over rows: C(x), the product with M and D follow
// each other in the first caches; in f32 for 16-bit tensors. Included after kernels/cpu/foreach_target.h, once for each
// instruction set.
#if defined(MORA_KERNELS_CPU_MORA_ROWS_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef MORA_KERNELS_CPU_MORA_ROWS_H_
#undef MORA_KERNELS_CPU_MORA_ROWS_H_
#else
#define MORA_KERNELS_CPU_MORA_ROWS_H_
#endif

#include <algorithm>

#include "kernels/adapted_linear.h"
#include "kernels/cpu/elements.h"
#include "kernels/cpu/narrow_tile.h"
#include "kernels/cpu/operator_rows.h"
#include "kernels/cpu/outer_sums.h"
#include "kernels/cpu/rooms.h"
#include "kernels/cpu/simd.h"

HWY_BEFORE_NAMESPACE();
namespace mora::kernels::cpu::HWY_NAMESPACE {

// What forward and backward share: both sides, and how a block of tokens goes through them.
struct MoraSides {
  MoraOperator op;
  std::shared_ptr<const Side<float>> in_side, out_side;
  const Side<float>&in, &out;
  int64_t narrow;       // slots · r̂
  int64_t tokens;       // of a block: rows of r̂, in whole tiles
  int64_t narrow_room;  // of a block's rows of r̂, and what a tile reads beyond
  int64_t wide_room;    // of a token that is not f32

  explicit MoraSides(const MoraOperator& of)
      : op(of),
        in_side(side_of<float>(of, true)),
        out_side(side_of<float>(of, false)),
        in(*in_side),
        out(*out_side),
        narrow(in.slots * of.rank),
        tokens(in.slots == 1 ? 24 : 16),
        narrow_room(tokens * narrow + std::max<int64_t>(tile_rows, 2 * lanes(hn::ScalableTag<float>()))),
        wide_room(std::max(of.in, of.out)) {}

  // to (count, narrow) = the sums over tokens of `wide` on a side. `row` and `chunk` (r̂) are scratch.
  template <class T>
  void gather_rows(const Side<float>& side, const T* wide, int64_t width, int64_t count, float* to, float* row,
                   float* chunk) const {
    for (int64_t i = 0; i < count; ++i) gather(side, read_row(wide + i * width, width, row), to + i * narrow, chunk);
  }
  // wide (count, width) += what `from` spreads over it.
  template <class T>
  void scatter_rows(const Side<float>& side, const float* from, int64_t width, int64_t count, T* wide, float* row,
                    float* chunk) const {
    for (int64_t i = 0; i < count; ++i) scatter_row(side, from + i * narrow, wide + i * width, true, row, chunk);
  }
};

// y += D(C(x)·Mᵀ)
template <class T>
class MoraForward {
 public:
  MoraForward(const Tensor& x, const AdaptedLinear& l, Tensor& y)
      : sides_(l.op),
        x_(x.data<T>()),
        y_(y.mutable_data<T>()),
        factor_(l.factors[0].data<T>(), l.op.rank, l.op.rank, true),
        rooms_{sides_.narrow_room, sides_.narrow_room, sides_.wide_room, l.op.rank, tile_rows * l.op.rank} {}

  int64_t block() const { return sides_.tokens; }
  int64_t cost() const { return sides_.narrow * sides_.op.rank; }
  int64_t room() const { return rooms_.size(); }

  void add(int64_t first, int64_t count, float* memory) const {
    const auto [s, z, row, chunk, tile] = rooms_.in(memory);
    const int64_t in = sides_.op.in, out = sides_.op.out;
    sides_.gather_rows(sides_.in, x_ + first * in, in, count, s, row, chunk);
    factor_.multiply(s, count * sides_.in.slots, z, false, tile);
    sides_.scatter_rows(sides_.out, z, out, count, y_ + first * out, row, chunk);
  }

 private:
  MoraSides sides_;
  const T* x_;
  T* y_;
  RowFactor<float> factor_;
  Rooms<5> rooms_;
};

// gz = Dᵀ(gy), gx += Cᵀ(gz·M), gM += gzᵀ·C(x); each where defined.
template <class T>
class MoraBackward {
 public:
  MoraBackward(const Tensor& x, const AdaptedLinear& l, const Tensor& gy, Tensor& gx, std::array<Tensor, 2>& gradients)
      : sides_(l.op),
        x_(x.data<T>()),
        gy_(gy.data<T>()),
        gx_(gx.defined() ? gx.mutable_data<T>() : nullptr),
        gm_(gradients[0].defined() ? gradients[0].mutable_data<T>() : nullptr),
        place_{l.op.rank, l.op.rank},
        rooms_{sides_.narrow_room, sides_.narrow_room, sides_.narrow_room,
               sides_.wide_room,   l.op.rank,          tile_rows * l.op.rank} {
    if (gx_) factor_ = RowFactor<float>(l.factors[0].data<T>(), l.op.rank, l.op.rank, false);
  }

  int64_t block() const { return sides_.tokens; }
  int64_t cost() const { return sides_.narrow * sides_.op.rank; }
  int64_t room() const { return rooms_.size(); }
  int64_t slots() const { return sides_.in.slots; }
  int64_t sums() const { return gm_ ? place_.size : 0; }

  void add(int64_t first, int64_t count, float* sum, float* memory) const {
    const auto [gz, s, gs, row, chunk, tile] = rooms_.in(memory);
    const int64_t in = sides_.op.in, out = sides_.op.out, slots = sides_.in.slots;
    sides_.gather_rows(sides_.out, gy_ + first * out, out, count, gz, row, chunk);
    if (gm_) {
      sides_.gather_rows(sides_.in, x_ + first * in, in, count, s, row, chunk);
      place_.add(0, place_.panels.count, count * slots, Left<UnitRow>{gz, {}, sides_.op.rank},
                 Right<float>{s, s + sides_.narrow_room}, nullptr, true, sum);
    }
    if (!gx_) return;
    factor_.multiply(gz, count * slots, gs, false, tile);
    sides_.scatter_rows(sides_.in, gs, in, count, gx_ + first * in, row, chunk);
  }

  int64_t panels() const { return gm_ ? place_.panels.count : 0; }
  void write(int64_t p, int64_t parts, int64_t stride, float* sums) const {
    place_.write(p, parts, stride, sums, false, false, gm_);
  }

 private:
  MoraSides sides_;
  const T *x_, *gy_;
  T *gx_, *gm_;
  OuterSums place_;  // of gM
  RowFactor<float> factor_;
  Rooms<6> rooms_;
};

}  // namespace mora::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
