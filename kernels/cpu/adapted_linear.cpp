// Frozen linears of one x with their adapters, a chunk of tokens at a time: the products with the weights, then what
// the adapters add while x, the outputs and their gradients are in the caches.
#include "kernels/adapted_linear.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/adapted_linear.cpp"
#include "kernels/cpu/foreach_target.h"
#include "kernels/cpu/lora_rows.h"
#include "kernels/cpu/mora_rows.h"

#include <bit>
#include <variant>
#include <vector>

#include "kernels/cpu/gemv.h"
#include "kernels/cpu/linear_rows.h"
#include "kernels/lora.h"
#include "kernels/product_checks.h"

HWY_BEFORE_NAMESPACE();
namespace mora::kernels::cpu::HWY_NAMESPACE {
namespace {

// Rows of x and y that are multiplied before their adapters: with fewer, the product takes longer than the caches save
// (measured). A multiple of every adapter's block.
template <class T>
constexpr int64_t chunk_rows = sizeof(T) == sizeof(float) ? 240 : 384;

// Calls f(begin, end) for rows, a chunk at a time, the last almost two.
template <class T, class F>
void for_chunks(int64_t begin, int64_t end, F f) {
  while (begin < end) {
    const int64_t next = end - begin < 2 * chunk_rows<T> ? end : begin + chunk_rows<T>;
    f(begin, next);
    begin = next;
  }
}

// A linear's product, and what its adapter does with the rows of it.
template <class... Adapters>
struct Part {
  LinearRows product;
  std::variant<std::monostate, Adapters...> adapter;
};

// f(adapter), where there is one.
template <class P, class F>
void visit_adapter(P& part, F f) {
  std::visit(
      [&]<class A>(A& adapter) {
        if constexpr (!std::is_same_v<std::remove_const_t<A>, std::monostate>) f(adapter);
      },
      part.adapter);
}

// Memory of a thread for any of the adapters; zeros, since tiles read beyond what is there.
template <class P>
Scratch<float> room_of(const std::vector<P>& parts) {
  int64_t size = 0;
  for (const P& part : parts) visit_adapter(part, [&](const auto& adapter) { size = std::max(size, adapter.room()); });
  Scratch<float> made(size);
  std::fill_n(made.data(), size, 0.0f);
  return made;
}

// Multiplications by the adapters, a row.
template <class P>
int64_t cost_of(const std::vector<P>& parts) {
  int64_t cost = 1;
  for (const P& part : parts) visit_adapter(part, [&](const auto& adapter) { cost += adapter.cost(); });
  return cost;
}

template <class T>
void forward(const Tensor& x, std::span<const AdaptedLinear> linears, std::span<Tensor> ys, std::span<Tensor> hs) {
  const int64_t n = x.dim(0);
  std::vector<Part<LoraForward<T>, MoraForward<T>>> parts;
  for (size_t i = 0; i < linears.size(); ++i) {
    const AdaptedLinear& l = linears[i];
    auto& part = parts.emplace_back();
    part.product = LinearRows(x, *l.w, ys[i], LinearRows::Direction::forward, n / unit_of_rows(n));
    if (l.adapter == AdaptedLinear::Adapter::lora) part.adapter.template emplace<1>(x, l, ys[i], hs[i]);
    if (l.adapter == AdaptedLinear::Adapter::mora) part.adapter.template emplace<2>(x, l, ys[i]);
  }
  parallel_for_rows(n, grain_of(cost_of(parts)), [&](int64_t begin, int64_t end) HWY_ATTR {
    const Scratch<float> room = room_of(parts);
    for_chunks<T>(begin, end, [&](int64_t from, int64_t to) {
      for (const auto& part : parts) {
        part.product(from, to);
        visit_adapter(part, [&](const auto& adapter) {
          for (int64_t first = from; first < to; first += adapter.block())
            adapter.add(first, std::min(adapter.block(), to - first), room.data());
        });
      }
    });
  });
}

// The gradients of factors are summed over pieces of the tokens, and the pieces' sums then added. Blocks of an adapter
// begin with a piece, so that no sum depends on the threads.
template <class T>
class Backward {
 public:
  Backward(const Tensor& x, std::span<const AdaptedLinear> linears, std::span<const Tensor> hs,
           std::span<const Tensor> gys, Tensor& gx, std::span<std::array<Tensor, 2>> gradients)
      : n_(x.dim(0)), parts_(linears.size()) {
    int64_t slots = 1;
    for (size_t i = 0; i < linears.size(); ++i) {
      const AdaptedLinear& l = linears[i];
      auto& adapter = parts_[i].adapter;
      if (l.adapter == AdaptedLinear::Adapter::lora) adapter.template emplace<1>(x, l, hs[i], gys[i], gx, gradients[i]);
      if (l.adapter == AdaptedLinear::Adapter::mora) adapter.template emplace<2>(x, l, gys[i], gx, gradients[i]);
      visit_adapter(parts_[i], [&](const auto& a) {
        slots = std::max(slots, a.slots());
        panels_ += a.panels();
        size_ += a.sums();
      });
    }
    constexpr int64_t most_sums = 1 << 18;
    const uint64_t most = std::bit_floor(uint64_t(most_sums / std::max<int64_t>(1, size_)));
    pieces_ = parts_of(n_ * slots, std::clamp<int64_t>(int64_t(most), 1, 32));
    sums_ = Scratch<float>(pieces_ * size_);
    if (!gx.defined()) return;
    for (size_t i = 0; i < linears.size(); ++i)
      parts_[i].product = LinearRows(gys[i], *linears[i].w, gx, LinearRows::Direction::backward, pieces_, i > 0);
  }

  void run() {
    parallel_for(pieces_, grain_of(n_ / pieces_ * cost_of(parts_)), [&](int64_t begin, int64_t end) HWY_ATTR {
      std::fill_n(sums_.data() + begin * size_, (end - begin) * size_, 0.0f);
      const Scratch<float> room = room_of(parts_);
      for (int64_t piece = begin, next = piece; piece < end; piece = next) {
        next = end_of_chunk(piece, end);
        for_chunks<T>(row_of(piece), row_of(next),
                      [&](int64_t from, int64_t to) { add_chunk(from, to, piece, room.data()); });
      }
    });
    parallel_for(panels_, 8, [&](int64_t begin, int64_t end) HWY_ATTR {
      for (int64_t p = begin; p < end; ++p) write(p);
    });
  }

 private:
  int64_t row_of(int64_t piece) const { return part_begin(n_, piece, pieces_); }
  // Small pieces make a chunk together.
  int64_t end_of_chunk(int64_t piece, int64_t end) const {
    const int64_t first = row_of(piece);
    if (row_of(end) - first < 2 * chunk_rows<T>) return end;
    int64_t next = piece + 1;
    while (next < end && row_of(next) - first < chunk_rows<T>) ++next;
    return next;
  }

  // Rows [from, to), the first of them in `piece`.
  void add_chunk(int64_t from, int64_t to, int64_t piece, float* room) const {
    float* sums = sums_.data() + piece * size_;
    for (const auto& part : parts_) {
      part.product(from, to);
      visit_adapter(part, [&](const auto& adapter) {
        int64_t of = piece;
        for (int64_t first = from, last = 0; first < to; first = last) {
          while (first == row_of(of + 1)) ++of;
          last = std::min({first + adapter.block(), to, row_of(of + 1)});
          adapter.add(first, last - first, sums + (of - piece) * size_, room);
        }
        sums += adapter.sums();
      });
    }
  }

  // Panel p of all gradients.
  void write(int64_t p) const {
    int64_t begin = 0, place = 0;
    for (const auto& part : parts_)
      visit_adapter(part, [&](const auto& adapter) {
        if (p >= begin && p < begin + adapter.panels()) adapter.write(p - begin, pieces_, size_, sums_.data() + place);
        begin += adapter.panels();
        place += adapter.sums();
      });
  }

  int64_t n_, panels_ = 0, size_ = 0, pieces_ = 1;  // size: of the sums of a piece
  std::vector<Part<LoraBackward<T>, MoraBackward<T>>> parts_;
  Scratch<float> sums_;
};

// f(T()) for the dtypes that are computed in f32.
template <class F>
void visit_computed_in_f32(DType dtype, F f) {
  visit_floating(dtype, "adapted_linears", [&]<class T>(T) {
    if constexpr (std::is_same_v<Compute<T>, float>) f(T());
  });
}

void forward_target(const Tensor& x, std::span<const AdaptedLinear> linears, std::span<Tensor> ys,
                    std::span<Tensor> hs) {
  visit_computed_in_f32(x.dtype(), [&]<class T>(T) { forward<T>(x, linears, ys, hs); });
}
void backward_target(const Tensor& x, std::span<const AdaptedLinear> linears, std::span<const Tensor> hs,
                     std::span<const Tensor> gys, Tensor& gx, std::span<std::array<Tensor, 2>> gradients) {
  visit_computed_in_f32(x.dtype(), [&]<class T>(T) { Backward<T>(x, linears, hs, gys, gx, gradients).run(); });
}

}  // namespace
}  // namespace mora::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mora::kernels::cpu {
namespace {

HWY_EXPORT(forward_target);
HWY_EXPORT(backward_target);

// Few tokens (decoding), large factors and f64 are plain products.
bool is_blocked(const Tensor& x, const AdaptedLinear& l) {
  if (x.dtype() == DType::f64) return false;
  switch (l.adapter) {
    case AdaptedLinear::Adapter::none: return true;
    case AdaptedLinear::Adapter::lora:
      return x.dim(0) > gemv_most_rows && l.factors[0].dim(0) <= 32 &&
             l.factors[0].numel() + l.factors[1].numel() <= 1 << 16;
    case AdaptedLinear::Adapter::mora: return l.op.rank <= 128;
  }
  return false;
}

void check(const char* name, const Tensor& x, const AdaptedLinear& l, const Tensor& y, const Tensor& h) {
  if (l.adapter == AdaptedLinear::Adapter::lora) check_lora(name, x, l.factors[0], l.factors[1], y, h);
  if (l.adapter == AdaptedLinear::Adapter::mora) check_mora(name, x, l.factors[0], y, l.op);
}

}  // namespace

bool takes_together(const Tensor& x, std::span<const AdaptedLinear> linears) {
  return x.dim(0) > gemv_most_rows &&
         std::ranges::all_of(linears, [&](const AdaptedLinear& l) { return is_blocked(x, l); });
}

void adapted_linears(const Tensor& x, std::span<const AdaptedLinear> linears, std::span<Tensor> ys,
                     std::span<Tensor> hs) {
  for (size_t i = 0; i < linears.size(); ++i) check("adapted_linears", x, linears[i], ys[i], hs[i]);
  HWY_DYNAMIC_DISPATCH(forward_target)(x, linears, ys, hs);
}

void adapted_linears_backward(const Tensor& x, std::span<const AdaptedLinear> linears, std::span<const Tensor> hs,
                              std::span<const Tensor> gys, Tensor& gx, std::span<std::array<Tensor, 2>> gradients) {
  for (size_t i = 0; i < linears.size(); ++i) check("adapted_linears_backward", x, linears[i], gys[i], hs[i]);
  HWY_DYNAMIC_DISPATCH(backward_target)(x, linears, hs, gys, gx, gradients);
}

void lora_linear(const Tensor& x, const FrozenWeight& w, const Tensor& a, const Tensor& b, Tensor& y, Tensor& h,
                 double scale) {
  check_lora("lora_linear", x, a, b, y, h);
  const AdaptedLinear one = lora_of(w, a, b, scale);
  if (!is_blocked(x, one)) return compose_lora_linear(x, w, a, b, y, h, scale);
  HWY_DYNAMIC_DISPATCH(forward_target)(x, {&one, 1}, {&y, 1}, {&h, 1});
}

void lora_linear_backward(const Tensor& x, const FrozenWeight& w, const Tensor& a, const Tensor& b, const Tensor& h,
                          const Tensor& gy, Tensor& gx, Tensor& ga, Tensor& gb, double scale) {
  check_lora("lora_linear_backward", x, a, b, gy, h);
  const AdaptedLinear one = lora_of(w, a, b, scale);
  if (!is_blocked(x, one)) return compose_lora_linear_backward(x, w, a, b, h, gy, gx, ga, gb, scale);
  std::array<Tensor, 2> gradients{ga, gb};
  HWY_DYNAMIC_DISPATCH(backward_target)(x, {&one, 1}, {&h, 1}, {&gy, 1}, gx, {&gradients, 1});
}

void mora_linear(const Tensor& x, const FrozenWeight& w, const Tensor& m, Tensor& y, const MoraOperator& op) {
  check_mora("mora_linear", x, m, y, op);
  const AdaptedLinear one = mora_of(w, m, op);
  if (!is_blocked(x, one)) return compose_mora_linear(x, w, m, y, op);
  Tensor none;
  HWY_DYNAMIC_DISPATCH(forward_target)(x, {&one, 1}, {&y, 1}, {&none, 1});
}

void mora_linear_backward(const Tensor& x, const FrozenWeight& w, const Tensor& m, const Tensor& gy, Tensor& gx,
                          Tensor& gm, const MoraOperator& op) {
  check_mora("mora_linear_backward", x, m, gy, op);
  const AdaptedLinear one = mora_of(w, m, op);
  if (!is_blocked(x, one)) return compose_mora_linear_backward(x, w, m, gy, gx, gm, op);
  const Tensor none;
  std::array<Tensor, 2> gradients{gm, Tensor()};
  HWY_DYNAMIC_DISPATCH(backward_target)(x, {&one, 1}, {&none, 1}, {&gy, 1}, gx, {&gradients, 1});
}

}  // namespace mora::kernels::cpu
#endif
