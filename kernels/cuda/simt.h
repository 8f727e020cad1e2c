// The only way our kernels see CUDA. nvcc reads the definitions below; a host compiler reads those of the emulator
// (tests/simt/emulator.h) in their place, where each thread of a block is a fiber, so that every kernel runs, and is
// tested, on machines without a card.
//
// A kernel is a struct: its members are its arguments, its call operator is what one thread does, `threads` how many
// of them a block has, a multiple of 32.
//
//   struct Scale {
//     static constexpr int threads = 256;
//     Array<const float> x;
//     Array<float> y;
//     float factor;
//     SIMT_DEVICE void operator()() const {
//       for (int64_t i = global_index(); i < x.size; i += global_size()) y[i] = factor * x[i];
//     }
//   };
//   launch(blocks_for(x.size, Scale::threads), Scale{x, y, 2});
//
// Memory is touched through Array (the device's) and Shared (a block's): the emulator sees each access, and fails one
// that is out of range, that reads what no thread wrote, or that races with another thread between two barriers.
#pragma once

#include <math.h>  // exp, log, sqrt, …: one name for f32 and f64

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "engine/dtype.h"

namespace mora::simt {

inline constexpr int warp_size = 32;

// N elements that move at once: in one instruction where they take 16 bytes or less.
template <class T, int N>
struct alignas(std::min<size_t>(16, N * sizeof(T))) Pack {
  T values[N];
};

// The elements of T in 16 bytes, which is what a thread of a memory-bound kernel should read at once.
template <class T>
inline constexpr int pack_width = 16 / sizeof(T);

struct Dim {
  int x = 1, y = 1, z = 1;
};

}  // namespace mora::simt

#ifndef __CUDACC__
#include <simt/emulator.h>
#else

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include "engine/cuda/launch.h"

#define SIMT_DEVICE __device__ __forceinline__
// Before a loop whose counter chooses among a thread's registers.
#define SIMT_UNROLL _Pragma("unroll")

namespace mora::simt {

// ---- Where a thread is. Blocks have one dimension, the grid up to three.

SIMT_DEVICE int thread_index() { return int(threadIdx.x); }
SIMT_DEVICE int block_size() { return int(blockDim.x); }
SIMT_DEVICE Dim block_index() { return {int(blockIdx.x), int(blockIdx.y), int(blockIdx.z)}; }
SIMT_DEVICE Dim grid_size() { return {int(gridDim.x), int(gridDim.y), int(gridDim.z)}; }

// ---- Memory.

// Elements in the device's memory.
template <class T>
struct Array {
  T* data;
  int64_t size;

  SIMT_DEVICE T& operator[](int64_t i) const { return data[i]; }
  // Elements i … i + N − 1; their address must be a multiple of the pack's size, or of 16.
  template <int N>
  SIMT_DEVICE Pack<std::remove_const_t<T>, N> pack(int64_t i) const {
    return *reinterpret_cast<const Pack<std::remove_const_t<T>, N>*>(data + i);
  }
  template <int N>
  SIMT_DEVICE void set_pack(int64_t i, const Pack<T, N>& pack) const {
    *reinterpret_cast<Pack<T, N>*>(data + i) = pack;
  }
};

// Elements in a block's shared memory, which starts without meaning.
template <class T>
struct Shared {
  T* data;
  int size;

  SIMT_DEVICE T& operator[](int i) const { return data[i]; }
  template <int N>
  SIMT_DEVICE Pack<T, N> pack(int i) const {
    return *reinterpret_cast<const Pack<T, N>*>(data + i);
  }
  template <int N>
  SIMT_DEVICE void set_pack(int i, const Pack<T, N>& pack) const {
    *reinterpret_cast<Pack<T, N>*>(data + i) = pack;
  }
};

// N elements of shared memory; the same ones for each call with the same arguments. Tag tells apart those of different
// uses: the kernel's struct, or a struct of the helper's own.
template <class T, int N, class Tag>
SIMT_DEVICE Shared<T> shared() {
  __shared__ alignas(16) unsigned char bytes[N * sizeof(T)];
  return {reinterpret_cast<T*>(bytes), N};
}

// `count` elements that begin `offset` bytes into what the launch asked for.
template <class T>
SIMT_DEVICE Shared<T> dynamic_shared(int offset, int count) {
  extern __shared__ __align__(16) unsigned char simt_dynamic[];
  return {reinterpret_cast<T*>(simt_dynamic + offset), count};
}

// a[i] += value; gives the old a[i]. Sums of integers only, or where the order of a sum does not matter.
template <class Memory, class T>
SIMT_DEVICE T atomic_add(const Memory& a, int64_t i, T value) {
  return atomicAdd(a.data + i, value);
}
template <class Memory, class T>
SIMT_DEVICE T atomic_max(const Memory& a, int64_t i, T value) {
  return atomicMax(a.data + i, value);
}

// N elements of the device's memory, from `at` on, to those of shared memory from i on, while the thread goes on: 4, 8
// or 16 bytes, at addresses that are multiples of them. They are there for this thread after its wait_for_copies(), for
// others behind a barrier after that.
template <int N, class T>
SIMT_DEVICE void copy_async(const Shared<T>& to, int i, const Array<const T>& from, int64_t at) {
  constexpr int bytes = N * sizeof(T);
  const auto address = uint32_t(__cvta_generic_to_shared(to.data + i));
  if constexpr (bytes == 16)
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(address), "l"(from.data + at) : "memory");
  else
    asm volatile("cp.async.ca.shared.global [%0], [%1], %2;" ::"r"(address), "l"(from.data + at), "n"(bytes)
                 : "memory");
}
SIMT_DEVICE void wait_for_copies() { asm volatile("cp.async.wait_all;" ::: "memory"); }

// ---- Threads together. All threads of the block (of the warp) must come by the same call.

SIMT_DEVICE void barrier() { __syncthreads(); }
SIMT_DEVICE void warp_barrier() { __syncwarp(); }
// The value of another lane: `lane`, this one's index with the bits of `mask` flipped, or `distance` up (where there is
// none, the own).
template <class T>
SIMT_DEVICE T shuffle(T value, int lane) {
  return __shfl_sync(0xFFFFFFFFu, value, lane);
}
template <class T>
SIMT_DEVICE T shuffle_xor(T value, int mask) {
  return __shfl_xor_sync(0xFFFFFFFFu, value, mask);
}
template <class T>
SIMT_DEVICE T shuffle_down(T value, int distance) {
  return __shfl_down_sync(0xFFFFFFFFu, value, unsigned(distance));
}
// Bit k: lane k's `condition`.
SIMT_DEVICE uint32_t ballot(bool condition) { return __ballot_sync(0xFFFFFFFFu, condition); }

// ---- A warp's products of 16-bit matrices (PTX ISA, "Warp-level matrix instructions", which has the pictures). With
// g = lane / 4 and t = lane % 4:

// Four 8×8 matrices of shared memory. Lane l brings where row l % 8 of matrix l / 8 begins, at a multiple of 16 bytes,
// and gets, of matrix m, in to[m] the elements 2t (lower half) and 2t + 1 of row g; of column g where `transposed`.
template <bool transposed, class T>
SIMT_DEVICE void load_matrices(const Shared<T>& from, int row_at, uint32_t (&to)[4]) {
  const auto address = uint32_t(__cvta_generic_to_shared(from.data + row_at));
  if constexpr (transposed)
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                 : "r"(address)
                 : "memory");
  else
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                 : "r"(address)
                 : "memory");
}

// c (16, 8) += a (16, 16) · b (16, 8), summed in f32; a lane holds
//   a: columns 2t, 2t + 1 of row g, the same of row g + 8, columns 2t + 8, 2t + 9 of row g, the same of row g + 8;
//   b: rows 2t, 2t + 1 of column g, rows 2t + 8, 2t + 9;   c: columns 2t, 2t + 1 of row g, the same of row g + 8.
template <class T>
SIMT_DEVICE void multiply_matrices(const uint32_t (&a)[4], const uint32_t (&b)[2], float (&c)[4]) {
  if constexpr (std::is_same_v<T, bf16_t>)
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
  else
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

// ---- Numbers.

SIMT_DEVICE int count_bits(uint32_t x) { return __popc(x); }
// The upper half of a product.
SIMT_DEVICE uint32_t multiply_high(uint32_t a, uint32_t b) { return __umulhi(a, b); }
// 2^x to about 22 bits.
SIMT_DEVICE float exp2_approximate(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
SIMT_DEVICE float widen(bf16_t x) { return __uint_as_float(uint32_t{x.bits} << 16); }
SIMT_DEVICE float widen(f16_t x) { return __half2float(__ushort_as_half(x.bits)); }
template <class T>
SIMT_DEVICE T narrow_to(float x) {
  T y;
  if constexpr (std::is_same_v<T, bf16_t>)
    y.bits = __bfloat16_as_ushort(__float2bfloat16_rn(x));
  else
    y.bits = __half_as_ushort(__float2half_rn(x));
  return y;
}

// ---- Launching.

template <class Kernel>
__global__ void __launch_bounds__(Kernel::threads) entry(const __grid_constant__ Kernel kernel) {
  kernel();
}

// More blocks than a card runs at once gain nothing where each thread goes on to further elements.
inline int most_blocks() { return 4096; }

// Runs the kernel on the current stream, with `dynamic` bytes of shared memory besides its static ones. Does not wait.
// Throws DeviceError where it cannot be launched.
template <class Kernel>
void launch(Dim grid, const Kernel& kernel, int dynamic = 0) {
  static_assert(Kernel::threads % warp_size == 0 && Kernel::threads <= 1024);
  if (grid.x == 0 || grid.y == 0 || grid.z == 0) return;
  constexpr int without_asking = 48 << 10;
  cudaError_t status = cudaSuccess;
  if (dynamic > without_asking)
    status = cudaFuncSetAttribute(entry<Kernel>, cudaFuncAttributeMaxDynamicSharedMemorySize, dynamic);
  if (status == cudaSuccess) {
    cudaLaunchConfig_t config{};
    config.gridDim = dim3(unsigned(grid.x), unsigned(grid.y), unsigned(grid.z));
    config.blockDim = dim3(Kernel::threads);
    config.dynamicSmemBytes = size_t(dynamic);
    config.stream = cudaStream_t(mora::cuda::current_stream());
    status = cudaLaunchKernelEx(&config, entry<Kernel>, kernel);
  }
  mora::cuda::check_launch(int(status), __PRETTY_FUNCTION__);
}

}  // namespace mora::simt
#endif

namespace mora::simt {

// ---- What both share.

SIMT_DEVICE int lane() { return thread_index() % warp_size; }
SIMT_DEVICE int warp() { return thread_index() / warp_size; }
// This thread among all of the grid's first dimension, and their number: for loops over any number of elements.
SIMT_DEVICE int64_t global_index() { return int64_t{block_index().x} * block_size() + thread_index(); }
SIMT_DEVICE int64_t global_size() { return int64_t{grid_size().x} * block_size(); }

// Blocks for `count` things, `per_block` at a time; no more than most_blocks().
inline Dim blocks_for(int64_t count, int64_t per_block) {
  return {int(std::min<int64_t>((count + per_block - 1) / per_block, most_blocks()))};
}

SIMT_DEVICE float widen(float x) { return x; }
SIMT_DEVICE double widen(double x) { return x; }
// Two 16-bit elements in a register, the first in its lower half.
template <class T>
SIMT_DEVICE uint32_t both(T first, T second) {
  return uint32_t{first.bits} | uint32_t{second.bits} << 16;
}
// x as T, rounded to nearest even.
template <class T>
SIMT_DEVICE T narrow(Compute<T> x) {
  if constexpr (std::is_same_v<T, bf16_t> || std::is_same_v<T, f16_t>)
    return narrow_to<T>(x);
  else
    return x;
}

}  // namespace mora::simt
