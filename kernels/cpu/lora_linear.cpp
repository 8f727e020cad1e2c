// A frozen linear with a low-rank adapter, a chunk of tokens at a time: the product with W, then what the adapter adds
// while x, y and their gradients are in the caches. The adapter in f32 for 16-bit tensors.
#include "kernels/lora.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/lora_linear.cpp"
#include "kernels/cpu/foreach_target.h"
#include "kernels/cpu/narrow_tile.h"
#include "kernels/cpu/outer_sums.h"
#include "kernels/cpu/simd.h"

#include <bit>

#include "kernels/cpu/linear_rows.h"
#include "kernels/product_checks.h"

HWY_BEFORE_NAMESPACE();
namespace mora::kernels::cpu::HWY_NAMESPACE {
namespace {

using D = hn::ScalableTag<float>;

constexpr int64_t forward_block = 24;  // tokens whose x·Aᵀ stays in the first cache

// to = scale·from, of any two floating types.
template <class To, class From>
HWY_INLINE void scaled(const From* from, int64_t n, float scale, To* to) {
  const D d;
  const auto factor = hn::Set(d, scale);
  map(
      d, n, [=](auto v) HWY_ATTR { return hn::Mul(v, factor); }, to, from);
}

template <class T>
void forward(const Tensor& x, const FrozenWeight& w, const Tensor& a, const Tensor& b, Tensor& y, Tensor& h,
             double scale) {
  const int64_t n = x.dim(0), k = x.dim(1), r = a.dim(0), d = b.dim(0);
  const LinearRows product(x, w, y, LinearRows::Direction::forward, n / unit_of_rows(n));
  const RowFactor down(a.data<T>(), k, r, true), up(b.data<T>(), r, d, true);
  const T* px = x.data<T>();
  T *py = y.mutable_data<T>(), *ph = h.mutable_data<T>();
  const int64_t block = in_bf16_tiles<T>() ? tiled_block : forward_block;
  parallel_for_rows(n, grain_of(r * (k + d)), [&](int64_t begin, int64_t end) HWY_ATTR {
    const Scratch<float> narrow(block * r), room(tile_rows * std::max(k, r));
    RowsAhead ahead(product, begin, end);
    for (int64_t first = begin; first < end; first += block) {
      const int64_t count = std::min(block, end - first);
      ahead.reach(first + count);
      down.multiply(px + first * k, count, narrow.data(), false, room.data());
      scaled(narrow.data(), count * r, float(scale), narrow.data());
      scaled(narrow.data(), count * r, 1.0f, ph + first * r);
      up.multiply(narrow.data(), count, py + first * d, true, room.data());
    }
  });
}

// gA, and gBᵀ, are summed over parts of the tokens.
template <class T>
class Backward {
 public:
  Backward(const Tensor& x, const FrozenWeight& w, const Tensor& a, const Tensor& b, const Tensor& h, const Tensor& gy,
           Tensor& gx, Tensor& ga, Tensor& gb, double scale)
      : n_(x.dim(0)),
        k_(x.dim(1)),
        r_(a.dim(0)),
        d_(b.dim(0)),
        scale_(float(scale)),
        x_(x.data<T>()),
        h_(h.data<T>()),
        gy_(gy.data<T>()),
        gx_(gx.defined() ? gx.mutable_data<T>() : nullptr),
        ga_(ga.defined() ? ga.mutable_data<T>() : nullptr),
        gb_(gb.defined() ? gb.mutable_data<T>() : nullptr),
        up_(b.data<T>(), d_, r_, false),
        down_(a.data<T>(), r_, k_, false) {
    parts_ = parts_of(n_, std::min<int64_t>(32, int64_t(std::bit_floor(uint64_t((1 << 18) / part_size())))));
    sums_ = Scratch<float>(parts_ * part_size());
    if (gx_) product_ = LinearRows(gy, w, gx, LinearRows::Direction::backward, parts_);
  }

  void run() {
    parallel_for(parts_, grain_of(n_ / parts_ * r_ * (k_ + d_)), [&](int64_t begin, int64_t end) HWY_ATTR {
      RowsAhead ahead(product_, part_begin(n_, begin, parts_), part_begin(n_, end, parts_));
      for (int64_t part = begin; part < end; ++part) add_part(part, ahead);
    });
    const int64_t of_a = ga_ ? a_place_.panels.count : 0, of_b = gb_ ? b_place_.panels.count : 0;
    parallel_for(of_a + of_b, 8, [&](int64_t begin, int64_t end) HWY_ATTR {
      for (int64_t p = begin; p < end; ++p) {
        if (p < of_a)
          a_place_.write(p, parts_, part_size(), sums_.data(), false, false, ga_);
        else
          b_place_.write(p - of_a, parts_, part_size(), sums_.data() + a_place_.size, true, false, gb_);
      }
    });
  }

 private:
  int64_t part_size() const { return a_place_.size + b_place_.size; }

  void add_part(int64_t part, RowsAhead& ahead) const {
    const Scratch<float> gh(a_place_.block * r_ + tile_rows), h(a_place_.block * r_ + tile_rows);
    const Scratch<float> room(tile_rows * std::max({d_, r_, k_})), block(a_place_.block * 2 * lanes(D()));
    float* sum = sums_.data() + part * part_size();
    std::fill_n(sum, part_size(), 0.0f);
    std::fill_n(gh.data(), a_place_.block * r_ + tile_rows, 0.0f);
    std::fill_n(h.data(), a_place_.block * r_ + tile_rows, 0.0f);
    const int64_t end = part_begin(n_, part + 1, parts_);
    for (int64_t first = part_begin(n_, part, parts_); first < end; first += a_place_.block) {
      const int64_t count = std::min(a_place_.block, end - first);
      ahead.reach(first + count);
      up_.multiply(gy_ + first * d_, count, gh.data(), false, room.data());
      scaled(gh.data(), count * r_, scale_, gh.data());
      if (gb_) {
        scaled(h_ + first * r_, count * r_, 1.0f, h.data());
        add(b_place_, count, h.data(), {gy_ + first * d_, gy_ + n_ * d_}, block.data(), sum + a_place_.size);
      }
      if (gx_) down_.multiply(gh.data(), count, gx_ + first * k_, true, room.data());
      if (ga_) add(a_place_, count, gh.data(), {x_ + first * k_, x_ + n_ * k_}, block.data(), sum);
    }
  }

  void add(const OuterSums& place, int64_t count, const float* left, Right<T> right, float* block, float* sum) const {
    place.add(0, place.panels.count, count, Left<UnitRow>{left, {}, r_}, right, block, true, sum);
  }

  int64_t n_, k_, r_, d_;
  float scale_;
  const T *x_, *h_, *gy_;
  T *gx_, *ga_, *gb_;
  LinearRows product_;
  RowFactor up_, down_;
  OuterSums a_place_{r_, k_, in_bf16_tiles<T>()}, b_place_{r_, d_, in_bf16_tiles<T>()};  // of gA, and gBᵀ
  int64_t parts_ = 1;
  Scratch<float> sums_;  // (parts, both)
};

void forward_target(const Tensor& x, const FrozenWeight& w, const Tensor& a, const Tensor& b, Tensor& y, Tensor& h,
                    double scale) {
  x.dtype() == DType::f32 ? forward<float>(x, w, a, b, y, h, scale) : forward<bf16_t>(x, w, a, b, y, h, scale);
}
void backward_target(const Tensor& x, const FrozenWeight& w, const Tensor& a, const Tensor& b, const Tensor& h,
                     const Tensor& gy, Tensor& gx, Tensor& ga, Tensor& gb, double scale) {
  x.dtype() == DType::f32 ? Backward<float>(x, w, a, b, h, gy, gx, ga, gb, scale).run()
                          : Backward<bf16_t>(x, w, a, b, h, gy, gx, ga, gb, scale).run();
}

}  // namespace
}  // namespace mora::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mora::kernels::cpu {
namespace {

HWY_EXPORT(forward_target);
HWY_EXPORT(backward_target);

// Few tokens (decoding), large ranks and other dtypes are plain products.
bool is_blocked(const Tensor& x, const Tensor& a, const Tensor& b) {
  return (x.dtype() == DType::f32 || x.dtype() == DType::bf16) && x.dim(0) >= 32 && a.dim(0) <= 32 &&
         a.numel() + b.numel() <= 1 << 16;
}

}  // namespace

void lora_linear(const Tensor& x, const FrozenWeight& w, const Tensor& a, const Tensor& b, Tensor& y, Tensor& h,
                 double scale) {
  check_lora("lora_linear", x, a, b, y, h);
  if (!is_blocked(x, a, b)) return compose_lora_linear(x, w, a, b, y, h, scale);
  HWY_DYNAMIC_DISPATCH(forward_target)(x, w, a, b, y, h, scale);
}

void lora_linear_backward(const Tensor& x, const FrozenWeight& w, const Tensor& a, const Tensor& b, const Tensor& h,
                          const Tensor& gy, Tensor& gx, Tensor& ga, Tensor& gb, double scale) {
  check_lora("lora_linear_backward", x, a, b, gy, h);
  if (!is_blocked(x, a, b)) return compose_lora_linear_backward(x, w, a, b, h, gy, gx, ga, gb, scale);
  HWY_DYNAMIC_DISPATCH(backward_target)(x, w, a, b, h, gy, gx, ga, gb, scale);
}

}  // namespace mora::kernels::cpu
#endif
