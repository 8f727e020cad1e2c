// MoRA's compression and decompression as ops: linear maps, each the backward of its adjoint. The equations stand in
// kernels/mora_operator.h.
#pragma once

#include "autograd/op.h"
#include "kernels/mora_operator.h"

namespace mora {

namespace ops {

using kernels::MoraOperator;

inline Meta compressed_meta(const Meta& x, const MoraOperator& op) {
  return {{x.shape[0], op.chunks(), op.rank}, x.dtype, x.device};
}
inline void check_rows(const Meta& x, int64_t columns, std::string_view name) {
  require<ShapeError>(x.shape.rank() == 2 && x.shape[1] == columns, "{}: expected (N, {}), not {}", name, columns,
                      x.shape);
}
inline void check_compressed(const Meta& s, const MoraOperator& op, std::string_view name) {
  require<ShapeError>(s.shape.rank() == 3 && s.shape[1] == op.chunks() && s.shape[2] == op.rank,
                      "{}: expected (N, {}, {}), not {}", name, op.chunks(), op.rank, s.shape);
}

struct MoraCompress {  // s = C(x).  x (N, k) → (N, chunks, r̂)
  static constexpr std::string_view name = "mora_compress";
  MoraOperator op;
  Meta infer(const Meta& x) const {
    check_rows(x, op.in, name);
    return compressed_meta(x, op);
  }
  void forward(const Tensor& x, Tensor& s) const { kernels::mora_compress(x, s, op); }
  Tensors vjp(const Saved& s, const Tensor& gs, Need need) const;
};

struct MoraCompressAdjoint {  // gx = Cᵀ(gs)
  static constexpr std::string_view name = "mora_compress_adjoint";
  MoraOperator op;
  Meta infer(const Meta& gs) const {
    check_compressed(gs, op, name);
    return {{gs.shape[0], op.in}, gs.dtype, gs.device};
  }
  void forward(const Tensor& gs, Tensor& gx) const { kernels::mora_compress_adjoint(gs, gx, op, false); }
  Tensors vjp(const Saved&, const Tensor& g, Need) const { return {apply(MoraCompress{op}, g)}; }
};

inline Tensors MoraCompress::vjp(const Saved&, const Tensor& gs, Need) const {
  return {apply(MoraCompressAdjoint{op}, gs)};
}

struct MoraDecompress {  // y = D(z).  z (N, chunks, r̂) → (N, d)
  static constexpr std::string_view name = "mora_decompress";
  MoraOperator op;
  Meta infer(const Meta& z) const {
    check_compressed(z, op, name);
    return {{z.shape[0], op.out}, z.dtype, z.device};
  }
  void forward(const Tensor& z, Tensor& y) const { kernels::mora_decompress(z, y, op, false); }
  Tensors vjp(const Saved& s, const Tensor& gy, Need need) const;
};

struct MoraDecompressAdjoint {  // gz = Dᵀ(gy)
  static constexpr std::string_view name = "mora_decompress_adjoint";
  MoraOperator op;
  Meta infer(const Meta& gy) const {
    check_rows(gy, op.out, name);
    return compressed_meta(gy, op);
  }
  void forward(const Tensor& gy, Tensor& gz) const { kernels::mora_decompress_adjoint(gy, gz, op); }
  Tensors vjp(const Saved&, const Tensor& g, Need) const { return {apply(MoraDecompress{op}, g)}; }
};

inline Tensors MoraDecompress::vjp(const Saved&, const Tensor& gy, Need) const {
  return {apply(MoraDecompressAdjoint{op}, gy)};
}

}  // namespace ops

inline Tensor mora_compress(const Tensor& x, const kernels::MoraOperator& op) {
  return apply(ops::MoraCompress{op}, x);
}
inline Tensor mora_decompress(const Tensor& z, const kernels::MoraOperator& op) {
  return apply(ops::MoraDecompress{op}, z);
}

}  // namespace mora
