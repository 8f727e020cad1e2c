// What a low-rank adapter adds to rows of its linear's output, and its gradients over rows. Sums are f32; h and gh are
// rounded to the tensors' dtype, as they are between products of their own. Included after
// kernels/cpu/foreach_target.h, once for each instruction set.
#if defined(MORA_KERNELS_CPU_LORA_ROWS_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef MORA_KERNELS_CPU_LORA_ROWS_H_
#undef MORA_KERNELS_CPU_LORA_ROWS_H_
#else
#define MORA_KERNELS_CPU_LORA_ROWS_H_
#endif

#include <algorithm>

#include "kernels/adapted_linear.h"
#include "kernels/cpu/narrow_tile.h"
#include "kernels/cpu/outer_sums.h"
#include "kernels/cpu/rooms.h"
#include "kernels/cpu/simd.h"

HWY_BEFORE_NAMESPACE();
namespace mora::kernels::cpu::HWY_NAMESPACE {

// to = scale·from, of any two floating types.
template <class To, class From>
HWY_INLINE void scaled(const From* from, int64_t n, float scale, To* to) {
  const hn::ScalableTag<float> d;
  const auto factor = hn::Set(d, scale);
  map(
      d, n, [=](auto v) HWY_ATTR { return hn::Mul(v, factor); }, to, from);
}

// h = scale·x·Aᵀ, y += h·Bᵀ
template <class T>
class LoraForward {
 public:
  LoraForward(const Tensor& x, const AdaptedLinear& l, Tensor& y, Tensor& h)
      : k_(x.dim(1)),
        r_(l.factors[0].dim(0)),
        d_(l.factors[1].dim(0)),
        scale_(float(l.scale)),
        x_(x.data<T>()),
        y_(y.mutable_data<T>()),
        h_(h.mutable_data<T>()),
        down_(l.factors[0].data<T>(), k_, r_, true),
        up_(l.factors[1].data<T>(), r_, d_, true),
        rooms_{block() * r_, tile_rows * std::max(k_, r_)} {}

  int64_t block() const {
    constexpr int64_t in_vectors = 24;  // tokens whose x·Aᵀ stays in the first cache
    return in_bf16_tiles<T>() ? tiled_block : in_vectors;
  }
  int64_t cost() const { return r_ * (k_ + d_); }
  int64_t room() const { return rooms_.size(); }

  void add(int64_t first, int64_t count, float* memory) const {
    const auto [narrow, room] = rooms_.in(memory);
    T* h = h_ + first * r_;
    down_.multiply(x_ + first * k_, count, narrow, false, room);
    scaled(narrow, count * r_, scale_, h);
    up_.multiply(static_cast<const T*>(h), count, y_ + first * d_, true, room);
  }

 private:
  int64_t k_, r_, d_;
  float scale_;
  const T* x_;
  T *y_, *h_;
  RowFactor<T> down_, up_;
  Rooms<2> rooms_;
};

// gh = scale·gy·B, gx += gh·A, gA += ghᵀ·x, gB += gyᵀ·h; each where defined. A sum of the gradients is gA's and gBᵀ's.
template <class T>
class LoraBackward {
 public:
  LoraBackward(const Tensor& x, const AdaptedLinear& l, const Tensor& h, const Tensor& gy, Tensor& gx,
               std::array<Tensor, 2>& gradients)
      : n_(x.dim(0)),
        k_(x.dim(1)),
        r_(l.factors[0].dim(0)),
        d_(l.factors[1].dim(0)),
        scale_(float(l.scale)),
        x_(x.data<T>()),
        h_(h.data<T>()),
        gy_(gy.data<T>()),
        gx_(gx.defined() ? gx.mutable_data<T>() : nullptr),
        ga_(gradients[0].defined() ? gradients[0].mutable_data<T>() : nullptr),
        gb_(gradients[1].defined() ? gradients[1].mutable_data<T>() : nullptr),
        up_(l.factors[1].data<T>(), d_, r_, false),
        down_(l.factors[0].data<T>(), r_, k_, false),
        rooms_{block() * r_ + tile_rows, std::is_same_v<T, float> ? 0 : block() * r_, block() * r_ + tile_rows,
               tile_rows * std::max({d_, r_, k_}), block() * 2 * lanes(hn::ScalableTag<float>())} {}

  int64_t block() const { return a_place_.block; }
  int64_t cost() const { return r_ * (k_ + d_); }
  int64_t room() const { return rooms_.size(); }
  int64_t slots() const { return 1; }
  int64_t sums() const { return a_place_.size + b_place_.size; }

  void add(int64_t first, int64_t count, float* sum, float* memory) const {
    const auto [gh, rounded_room, h, room, panel] = rooms_.in(memory);
    up_.multiply(gy_ + first * d_, count, gh, false, room);
    constexpr bool rounds = !std::is_same_v<T, float>;
    T* rounded = reinterpret_cast<T*>(rounds ? rounded_room : gh);
    scaled(gh, count * r_, scale_, rounded);
    if (rounds) scaled(rounded, count * r_, 1.0f, gh);
    if (gb_) {
      scaled(h_ + first * r_, count * r_, 1.0f, h);
      add_products(b_place_, count, h, {gy_ + first * d_, gy_ + n_ * d_}, panel, sum + a_place_.size);
    }
    if (gx_) down_.multiply(static_cast<const T*>(rounded), count, gx_ + first * k_, true, room);
    if (ga_) add_products(a_place_, count, gh, {x_ + first * k_, x_ + n_ * k_}, panel, sum);
  }

  // The gradients go out in so many panels, each from `parts` sums, `stride` apart.
  int64_t panels() const { return of_a() + (gb_ ? b_place_.panels.count : 0); }
  void write(int64_t p, int64_t parts, int64_t stride, float* sums) const {
    if (p < of_a())
      a_place_.write(p, parts, stride, sums, false, false, ga_);
    else
      b_place_.write(p - of_a(), parts, stride, sums + a_place_.size, true, false, gb_);
  }

 private:
  int64_t of_a() const { return ga_ ? a_place_.panels.count : 0; }
  void add_products(const OuterSums& place, int64_t count, const float* left, Right<T> right, float* panel,
                    float* sum) const {
    place.add(0, place.panels.count, count, Left<UnitRow>{left, {}, r_}, right, panel, true, sum);
  }

  int64_t n_, k_, r_, d_;
  float scale_;
  const T *x_, *h_, *gy_;
  T *gx_, *ga_, *gb_;
  RowFactor<T> up_, down_;
  OuterSums a_place_{r_, k_, in_bf16_tiles<T>()}, b_place_{r_, d_, in_bf16_tiles<T>()};  // of gA, and gBᵀ
  Rooms<5> rooms_;
};

}  // namespace mora::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
