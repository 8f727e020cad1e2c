// Matrix products. Plain GEMMs go to a library: oneDNN for f32 and bf16, Eigen for f64.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "kernels/dispatch.h"

namespace mora::kernels {

// y = op(a)·op(b) [+ y],  op = transpose where asked.  2-D; a and b contiguous; y contiguous (M, N); floating, one
// dtype (y may be f32 for bf16 inputs). K = 0 gives zeros (or leaves y when accumulating).
struct MatmulShape {
  bool transpose_a = false;
  bool transpose_b = false;
  bool accumulate = false;
};
MORA_KERNEL(matmul, const Tensor& a, const Tensor& b, Tensor& y, const MatmulShape& shape);

// How products of bf16 are computed on the processor: by bf16 instructions with f32 accumulation, or in f32 after
// widening. Measured at the first call unless it was set (tests compute in both ways).
enum class Bf16Products { native, widened };
Bf16Products bf16_products();
void set_bf16_products(Bf16Products choice);
namespace cpu {
// Whether the processor multiplies bf16 two factors at a time (AVX-512 BF16). Kernels that wait for memory do then.
bool has_bf16_pairs();
// Whether kernels that wait for arithmetic do: on some processors f32 is faster (Intel without AMX: by two).
bool multiplies_bf16_pairs();
}  // namespace cpu

// A frozen weight W (out, in) with an optional bias (out), packed for the processor when first used in a direction:
//   forward   y = x·Wᵀ + b      backward   gx = gy·W
// A few rows of x (decoding) are multiplied by W by rows: as it lies, in its own dtype where that is no wider than x's;
// what is mapped from a file is copied first.
// Each packed form, and each copy on a device, is made once and kept. One thread at a time.
class FrozenWeight {
 public:
  FrozenWeight(Tensor weight, Tensor bias);
  // W, as `meta` describes it, is loaded whenever it is needed and not kept: what stays are its packed forms.
  FrozenWeight(const Meta& meta, std::function<Tensor()> load, Tensor bias);
  ~FrozenWeight();
  FrozenWeight(const FrozenWeight&) = delete;
  FrozenWeight& operator=(const FrozenWeight&) = delete;

  // W; loaded from its file again where it is not kept.
  Tensor weight() const { return load_(); }
  const Meta& meta() const { return meta_; }
  const Tensor& bias() const { return bias_; }  // may be undefined
  int64_t in() const { return meta_.shape[1]; }
  int64_t out() const { return meta_.shape[0]; }
  int64_t packed_bytes() const;  // on the processor
  // Packs W now for both directions of activations of `dtype`, f32 or bf16, and loads it once for that.
  void pack(DType dtype) const;
  void drop_rows() const;    // frees W by rows, which products with a few rows of x read; it is made again when used
  void drop_packed() const;  // frees what was packed; it is packed again when used

  // W and b on a device, in the dtype of the activations there; brought at the first call and kept, or what is there
  // already.
  struct Resident {
    Tensor weight, bias;
  };
  Resident resident(Device device, DType dtype) const;

  struct Packed;  // what the processor keeps
  Packed& packed() const { return *packed_; }

 private:
  Meta meta_;
  std::function<Tensor()> load_;
  Tensor bias_;
  std::unique_ptr<Packed> packed_;
  mutable std::vector<Resident> residents_;
};

// y = x·Wᵀ + b.  x (N, in), y (N, out); x and y of one dtype (f32, bf16, f64), W of that dtype or converted while
// packing.
MORA_KERNEL(linear, const Tensor& x, const FrozenWeight& w, Tensor& y);
// ys[i] = x·W_iᵀ + b_i for weights that read the same x; a few rows go through all of them in one parallel region.
void linears(const Tensor& x, std::span<const FrozenWeight* const> weights, std::span<Tensor> ys);
// gx = gy·W.  gy (N, out), gx (N, in).
MORA_KERNEL(linear_backward, const Tensor& gy, const FrozenWeight& w, Tensor& gx);

}  // namespace mora::kernels
