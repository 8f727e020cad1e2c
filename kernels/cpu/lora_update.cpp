// A low-rank update and its gradients, a block of tokens at a time: x, y and their gradients come from memory once
// each. In f32 for 16-bit tensors.
#include "kernels/lora.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/lora_update.cpp"
#include "kernels/cpu/foreach_target.h"
#include "kernels/cpu/narrow_tile.h"
#include "kernels/cpu/simd.h"

#include "engine/parallel.h"
#include "kernels/product_checks.h"

HWY_BEFORE_NAMESPACE();
namespace mora::kernels::cpu::HWY_NAMESPACE {
namespace {

using D = hn::ScalableTag<float>;

// Tokens whose rows of x and y stay in the second-level cache. Few, so that threads have as many each; more where each
// block reads and writes the sums of outer products.
constexpr int64_t update_tokens = 24, block_tokens = 48;

// to = scale·from, of any two floating types.
template <class To, class From>
HWY_INLINE void scaled(const From* from, int64_t n, float scale, To* to) {
  const D d;
  const auto factor = hn::Set(d, scale);
  map(
      d, n, [=](auto v) HWY_ATTR { return hn::Mul(v, factor); }, to, from);
}

template <class T>
void update(const Tensor& x, const Tensor& a, const Tensor& b, Tensor& y, Tensor& h, double scale) {
  const int64_t n = x.dim(0), k = x.dim(1), r = a.dim(0), d = b.dim(0);
  const RowFactor down(a.data<T>(), k, r, true), up(b.data<T>(), r, d, true);
  const T* px = x.data<T>();
  T *py = y.mutable_data<T>(), *ph = h.mutable_data<T>();
  parallel_for(
      ceil_div(n, update_tokens), grain_of(update_tokens * r * (k + d)), [&](int64_t begin, int64_t end) HWY_ATTR {
        const Scratch<float> narrow(update_tokens * r), room(tile_rows * std::max(k, r));
        for (int64_t first = begin * update_tokens; first < std::min(n, end * update_tokens); first += update_tokens) {
          const int64_t count = std::min(update_tokens, n - first);
          down.multiply(px + first * k, count, narrow.data(), false, room.data());
          scaled(narrow.data(), count * r, float(scale), narrow.data());
          scaled(narrow.data(), count * r, 1.0f, ph + first * r);
          up.multiply(narrow.data(), count, py + first * d, true, room.data());
        }
      });
}

// sum (r, n) of outer products over tokens, in tiles: rows padded to whole tiles, columns to whole vectors.
struct Sums {
  int64_t r, n;
  Panels<D> panels{D(), n};
  int64_t row = panels.padded_columns(), tiles = ceil_div(r, tile_rows), size = tiles * tile_rows * row;

  // sum += leftᵀ·right.  left (count, r) with a tile's room after it, right (count, n) in a tensor that ends at `end`.
  template <class T>
  void add(const float* left, const T* right, const T* end, int64_t count, float* block, float* sum) const {
    for (int64_t p = 0; p < panels.count; ++p) {
      const T* from = right + panels.begin(p);
      const float* b = block;
      int64_t b_row = panels.width(p);
      bool as_it_lies = false;
      if constexpr (std::is_same_v<T, float>) as_it_lies = from + (count - 1) * n + b_row <= end;
      if constexpr (std::is_same_v<T, float>)
        if (as_it_lies) b = from, b_row = n;
      if (!as_it_lies) copy_rows(D(), from, n, count, panels.used(p), b_row, block);
      for (int64_t t = 0; t < tiles; ++t)
        multiply_panel(
            D(), count, Left<UnitRow>{left + t * tile_rows, {}, r}, b, b_row,
            Target<float>{sum + t * tile_rows * row + panels.begin(p), row, tile_rows, panels.width(p), true});
    }
  }

  // Adds parts 1 … of panel p to part 0, `stride` apart.
  void join(int64_t p, int64_t parts, int64_t stride, float* sum) const {
    for (int64_t i = 0; i < r; ++i) {
      float* to = sum + i * row + panels.begin(p);
      for (int64_t part = 1; part < parts; ++part)
        map(
            D(), panels.width(p), [](auto u, auto v) HWY_ATTR { return hn::Add(u, v); }, to,
            static_cast<const float*>(to), static_cast<const float*>(to + part * stride));
    }
  }
};

// gA and gB are summed over parts of the tokens, cut by the shape alone, so that a result does not depend on the
// threads.
template <class T>
class Backward {
 public:
  Backward(const Tensor& x, const Tensor& a, const Tensor& b, const Tensor& h, const Tensor& gy, Tensor& gx, Tensor& ga,
           Tensor& gb, double scale)
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
    while (parts_ < 32 && n_ >= 2 * parts_ * least_tokens && 2 * parts_ * part_size() <= 1 << 18) parts_ *= 2;
    sums_ = Scratch<float>(parts_ * part_size());
  }

  void run() {
    parallel_for(parts_, grain_of(n_ / parts_ * r_ * (k_ + d_)), [&](int64_t begin, int64_t end) HWY_ATTR {
      for (int64_t part = begin; part < end; ++part) add_part(part);
    });
    const int64_t of_a = ga_ ? a_sums_.panels.count : 0, of_b = gb_ ? b_sums_.panels.count : 0;
    parallel_for(of_a + of_b, 8, [&](int64_t begin, int64_t end) HWY_ATTR {
      for (int64_t p = begin; p < end; ++p) p < of_a ? write_a(p) : write_b(p - of_a);
    });
  }

 private:
  static constexpr int64_t least_tokens = 96;  // of a part

  int64_t part_size() const { return a_sums_.size + b_sums_.size; }

  void add_part(int64_t part) const {
    const Scratch<float> gh(block_tokens * r_ + tile_rows), h(block_tokens * r_ + tile_rows);
    const Scratch<float> room(tile_rows * std::max({d_, r_, k_})), block(block_tokens * 2 * lanes(D()));
    float* sum = sums_.data() + part * part_size();
    std::fill_n(sum, part_size(), 0.0f);
    std::fill_n(gh.data(), block_tokens * r_ + tile_rows, 0.0f);
    std::fill_n(h.data(), block_tokens * r_ + tile_rows, 0.0f);
    const int64_t end = n_ * (part + 1) / parts_;
    for (int64_t first = n_ * part / parts_; first < end; first += block_tokens) {
      const int64_t count = std::min(block_tokens, end - first);
      up_.multiply(gy_ + first * d_, count, gh.data(), false, room.data());
      scaled(gh.data(), count * r_, scale_, gh.data());
      if (gb_) {
        scaled(h_ + first * r_, count * r_, 1.0f, h.data());
        b_sums_.add(h.data(), gy_ + first * d_, gy_ + n_ * d_, count, block.data(), sum + a_sums_.size);
      }
      if (gx_) down_.multiply(gh.data(), count, gx_ + first * k_, true, room.data());
      if (ga_) a_sums_.add(gh.data(), x_ + first * k_, x_ + n_ * k_, count, block.data(), sum);
    }
  }

  void write_a(int64_t p) const {
    a_sums_.join(p, parts_, part_size(), sums_.data());
    for (int64_t i = 0; i < r_; ++i)
      scaled(sums_.data() + i * a_sums_.row + a_sums_.panels.begin(p), a_sums_.panels.used(p), 1.0f,
             ga_ + i * k_ + a_sums_.panels.begin(p));
  }

  void write_b(int64_t p) const {
    float* sum = sums_.data() + a_sums_.size;
    const int64_t columns = b_sums_.panels.used(p);
    b_sums_.join(p, parts_, part_size(), sum);
    const Scratch<float> turned(columns * r_);
    copy_transposed(D(), sum + b_sums_.panels.begin(p), b_sums_.row, columns, r_, r_, turned.data());
    scaled(turned.data(), columns * r_, 1.0f, gb_ + b_sums_.panels.begin(p) * r_);
  }

  int64_t n_, k_, r_, d_;
  float scale_;
  const T *x_, *h_, *gy_;
  T *gx_, *ga_, *gb_;
  RowFactor up_, down_;
  Sums a_sums_{r_, k_}, b_sums_{r_, d_};  // gA, and gBᵀ
  int64_t parts_ = 1;
  Scratch<float> sums_;  // (parts, both)
};

void update_target(const Tensor& x, const Tensor& a, const Tensor& b, Tensor& y, Tensor& h, double scale) {
  x.dtype() == DType::f32 ? update<float>(x, a, b, y, h, scale) : update<bf16_t>(x, a, b, y, h, scale);
}
void update_backward_target(const Tensor& x, const Tensor& a, const Tensor& b, const Tensor& h, const Tensor& gy,
                            Tensor& gx, Tensor& ga, Tensor& gb, double scale) {
  x.dtype() == DType::f32 ? Backward<float>(x, a, b, h, gy, gx, ga, gb, scale).run()
                          : Backward<bf16_t>(x, a, b, h, gy, gx, ga, gb, scale).run();
}

}  // namespace
}  // namespace mora::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mora::kernels::cpu {
namespace {

HWY_EXPORT(update_target);
HWY_EXPORT(update_backward_target);

// Few tokens (decoding), large ranks and other dtypes are plain products.
bool is_blocked(const Tensor& x, const Tensor& a, const Tensor& b) {
  return (x.dtype() == DType::f32 || x.dtype() == DType::bf16) && x.dim(0) >= 32 && a.dim(0) <= 32 &&
         a.numel() + b.numel() <= 1 << 16;
}

}  // namespace

void lora_update(const Tensor& x, const Tensor& a, const Tensor& b, Tensor& y, Tensor& h, double scale) {
  check_lora("lora_update", x, a, b, y, h);
  if (!is_blocked(x, a, b)) return compose_lora_update(x, a, b, y, h, scale);
  HWY_DYNAMIC_DISPATCH(update_target)(x, a, b, y, h, scale);
}

void lora_update_backward(const Tensor& x, const Tensor& a, const Tensor& b, const Tensor& h, const Tensor& gy,
                          Tensor& gx, Tensor& ga, Tensor& gb, double scale) {
  check_lora("lora_update_backward", x, a, b, gy, h);
  if (!is_blocked(x, a, b)) return compose_lora_update_backward(x, a, b, h, gy, gx, ga, gb, scale);
  HWY_DYNAMIC_DISPATCH(update_backward_target)(x, a, b, h, gy, gx, ga, gb, scale);
}

}  // namespace mora::kernels::cpu
#endif
