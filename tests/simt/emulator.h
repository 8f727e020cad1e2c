// The half of kernels/cuda/simt.h that a host compiler reads: a card of fibers. (Include that, not this.)
//
// The threads of a block are fibers that run one at a time, each until it meets a barrier or a shuffle; blocks run one
// after the other. A launch runs several times from the same memory, with threads and blocks in other orders, and must
// leave the same bits each time. Errors throw KernelError with the kernel, the block and the thread.
#pragma once

#include <bit>
#include <functional>
#include <source_location>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "engine/cuda/launch.h"

#define SIMT_DEVICE inline
#define SIMT_UNROLL

namespace mora::simt {

struct KernelError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

namespace emulator {

// A kernel that some program could launch, and how often it was in every order of threads.
struct KernelRecord {
  std::string name;
  int64_t launches = 0;
};
std::vector<KernelRecord>& kernels();
inline size_t declare(std::string_view signature) {
  kernels().push_back({mora::cuda::kernel_name(signature)});
  return kernels().size() - 1;
}

// Each launch runs in three orders of its threads and blocks, whose bits must agree; else in one, another each time.
inline bool every_order = true;

struct Launch {
  size_t kernel;  // of kernels()
  Dim grid;
  int threads;
  int dynamic;  // bytes
  std::function<void()> body;
};
void run(const Launch& launch);
// Calls f with device memory open, in its place among the launches: later where a graph is recorded.
void submit(std::function<void()> f);

// ---- What a running thread asks for.

enum class Access { read, write, atomic };
enum class Meeting { barrier, warp_barrier, exchange };

// Throws KernelError that begins with where the thread is.
[[noreturn]] void fail_here(const std::string& message);
// Fails unless i … i + count − 1 are among `size` elements.
inline void check_range(int64_t i, int64_t count, int64_t size, const char* memory) {
  if (i < 0 || i > size - count) [[unlikely]]
    fail_here("element " + std::to_string(i) + (count > 1 ? " and those after it" : "") + " of " +
              std::to_string(size) + " in " + memory + " memory");
}
void check_alignment(const void* pointer, size_t bytes);
// Shared memory: `Tag` static arrays by key, dynamic ones by offset.
void* static_shared(const void* key, int bytes);
void* dynamic_shared(int offset, int bytes);
// Fails where the access races with another thread's, or reads what no thread wrote.
void touch_shared(const void* pointer, int bytes, Access access);
// What a lane brings to an exchange.
struct Brought {
  uint64_t words[3] = {};
};
// Waits for the threads of the block, or of the warp. An exchange gives what each lane brought.
const Brought* meet(Meeting meeting, const Brought& brought, const std::source_location& where);
// A copy to shared memory that goes on: what it writes is poison until wait_for_copies().
void copy_async(void* to, const void* from, int bytes);

struct Position {
  int thread = 0, threads = 0;
  Dim block, grid;
};
const Position& position();

template <class T>
uint64_t bits_of(T value) {
  static_assert(sizeof(T) <= 8 && std::is_trivially_copyable_v<T>);
  uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof(T));
  return bits;
}
template <class T>
T value_of(uint64_t bits) {
  T value;
  std::memcpy(&value, &bits, sizeof(T));
  return value;
}

}  // namespace emulator

// ---- Where a thread is.

inline int thread_index() { return emulator::position().thread; }
inline int block_size() { return emulator::position().threads; }
inline Dim block_index() { return emulator::position().block; }
inline Dim grid_size() { return emulator::position().grid; }

// ---- Memory.

template <class T>
struct Array {
  T* data;
  int64_t size;

  T& operator[](int64_t i) const {
    emulator::check_range(i, 1, size, "device");
    return data[i];
  }
  template <int N>
  Pack<std::remove_const_t<T>, N> pack(int64_t i) const {
    check_pack<N>(i);
    Pack<std::remove_const_t<T>, N> pack;
    std::copy_n(data + i, N, pack.values);
    return pack;
  }
  template <int N>
  void set_pack(int64_t i, const Pack<T, N>& pack) const {
    check_pack<N>(i);
    std::copy_n(pack.values, N, data + i);
  }

 private:
  template <int N>
  void check_pack(int64_t i) const {
    emulator::check_range(i, N, size, "device");
    emulator::check_alignment(data + i, alignof(Pack<T, N>));
  }
};

// What an element of shared memory is called: its reads and writes are seen.
template <class T>
class SharedElement {
 public:
  explicit SharedElement(T* element) : element_(element) {}
  SharedElement(const SharedElement&) = default;
  operator T() const {  // NOLINT(google-explicit-constructor)
    emulator::touch_shared(element_, sizeof(T), emulator::Access::read);
    return *element_;
  }
  const SharedElement& operator=(T value) const {
    emulator::touch_shared(element_, sizeof(T), emulator::Access::write);
    *element_ = value;
    return *this;
  }
  const SharedElement& operator=(const SharedElement& other) const { return *this = T(other); }
  const SharedElement& operator+=(T value) const { return *this = T(*this) + value; }
  const SharedElement& operator-=(T value) const { return *this = T(*this) - value; }
  const SharedElement& operator*=(T value) const { return *this = T(*this) * value; }

 private:
  T* element_;
};

template <class T>
struct Shared {
  T* data;
  int size;

  SharedElement<T> operator[](int i) const {
    emulator::check_range(i, 1, size, "shared");
    return SharedElement<T>(data + i);
  }
  template <int N>
  Pack<T, N> pack(int i) const {
    check_pack<N>(i, emulator::Access::read);
    Pack<T, N> pack;
    std::copy_n(data + i, N, pack.values);
    return pack;
  }
  template <int N>
  void set_pack(int i, const Pack<T, N>& pack) const {
    check_pack<N>(i, emulator::Access::write);
    std::copy_n(pack.values, N, data + i);
  }

 private:
  template <int N>
  void check_pack(int i, emulator::Access access) const {
    emulator::check_range(i, N, size, "shared");
    emulator::check_alignment(data + i, alignof(Pack<T, N>));
    emulator::touch_shared(data + i, N * sizeof(T), access);
  }
};

template <class T, int N, class Tag>
Shared<T> shared() {
  static const char key = 0;
  return {static_cast<T*>(emulator::static_shared(&key, N * sizeof(T))), N};
}

template <class T>
Shared<T> dynamic_shared(int offset, int count) {
  return {static_cast<T*>(emulator::dynamic_shared(offset, count * int(sizeof(T)))), count};
}

namespace emulator {

template <class T, class F>
T atomically(const Array<T>& a, int64_t i, F&& f) {
  T& element = a[i];
  return std::exchange(element, f(element));
}
template <class T, class F>
T atomically(const Shared<T>& a, int64_t i, F&& f) {
  check_range(i, 1, a.size, "shared");
  touch_shared(a.data + i, sizeof(T), Access::atomic);
  return std::exchange(a.data[i], f(a.data[i]));
}

}  // namespace emulator

template <class Memory, class T>
T atomic_add(const Memory& a, int64_t i, T value) {
  return emulator::atomically(a, i, [&](T old) { return T(old + value); });
}
template <class Memory, class T>
T atomic_max(const Memory& a, int64_t i, T value) {
  return emulator::atomically(a, i, [&](T old) { return std::max(old, value); });
}

template <int N, class T>
void copy_async(const Shared<T>& to, int i, const Array<const T>& from, int64_t at) {
  constexpr int bytes = N * sizeof(T);
  static_assert(bytes == 4 || bytes == 8 || bytes == 16);
  emulator::check_range(i, N, to.size, "shared");
  emulator::check_range(at, N, from.size, "device");
  emulator::check_alignment(to.data + i, bytes);
  emulator::check_alignment(from.data + at, bytes);
  emulator::copy_async(to.data + i, from.data + at, bytes);
}
void wait_for_copies();

// ---- Threads together.

inline void barrier(const std::source_location& where = std::source_location::current()) {
  emulator::meet(emulator::Meeting::barrier, {}, where);
}
inline void warp_barrier(const std::source_location& where = std::source_location::current()) {
  emulator::meet(emulator::Meeting::warp_barrier, {}, where);
}
template <class T>
T shuffle(T value, int from, const std::source_location& where = std::source_location::current()) {
  const emulator::Brought brought{{emulator::bits_of(value)}};
  return emulator::value_of<T>(emulator::meet(emulator::Meeting::exchange, brought, where)[from % warp_size].words[0]);
}
template <class T>
T shuffle_xor(T value, int mask, const std::source_location& where = std::source_location::current()) {
  return simt::shuffle(value, (thread_index() % warp_size) ^ mask, where);
}
template <class T>
T shuffle_down(T value, int distance, const std::source_location& where = std::source_location::current()) {
  const int own = thread_index() % warp_size;
  return simt::shuffle(value, own + distance < warp_size ? own + distance : own, where);
}
inline uint32_t ballot(bool condition, const std::source_location& where = std::source_location::current()) {
  const emulator::Brought* conditions = emulator::meet(emulator::Meeting::exchange, {{condition}}, where);
  uint32_t bits = 0;
  for (int k = 0; k < warp_size; ++k) bits |= uint32_t(conditions[k].words[0]) << k;
  return bits;
}

template <bool transposed, class T>
void load_matrices(const Shared<T>& from, int row_at, uint32_t (&to)[4],
                   const std::source_location& where = std::source_location::current()) {
  emulator::check_range(row_at, 8, from.size, "shared");
  emulator::check_alignment(from.data + row_at, 16);
  const emulator::Brought* rows = emulator::meet(emulator::Meeting::exchange, {{uint64_t(row_at)}}, where);
  const int g = thread_index() % warp_size / 4, t = thread_index() % 4;
  for (int m = 0; m < 4; ++m) {
    uint16_t elements[2];
    for (int i = 0; i < 2; ++i) {
      const int row = transposed ? 2 * t + i : g, column = transposed ? g : 2 * t + i;
      elements[i] = T(from[int(rows[8 * m + row].words[0]) + column]).bits;
    }
    to[m] = uint32_t{elements[0]} | uint32_t{elements[1]} << 16;
  }
}

template <class T>
void multiply_matrices(const uint32_t (&a)[4], const uint32_t (&b)[2], float (&c)[4],
                       const std::source_location& where = std::source_location::current()) {
  emulator::Brought own;
  std::memcpy(own.words, a, sizeof a);
  std::memcpy(own.words + 2, b, sizeof b);
  const emulator::Brought* lanes = emulator::meet(emulator::Meeting::exchange, own, where);
  // Element `i` of the 12 that a lane brought: 8 of a, then 4 of b.
  const auto element = [&](int lane, int i) {
    T x;
    x.bits = uint16_t(lanes[lane].words[i / 4] >> (16 * (i % 4)));
    return float(x);
  };
  const int g = thread_index() % warp_size / 4, t = thread_index() % 4;
  for (int i = 0; i < 4; ++i) {
    const int lower = i / 2, column = 2 * t + i % 2;  // of c: row g + 8·lower
    for (int k = 0; k < 16; ++k) {                    // held by the lane (of the row, of the column) with t = k % 8 / 2
      const int holder = k % 8 / 2, upper_k = k / 8;
      c[i] += element(4 * g + holder, 4 * upper_k + 2 * lower + k % 2) *
              element(4 * column + holder, 8 + 2 * upper_k + k % 2);
    }
  }
}

// ---- Numbers.

inline int count_bits(uint32_t x) { return std::popcount(x); }
inline uint32_t multiply_high(uint32_t a, uint32_t b) { return uint32_t(uint64_t{a} * b >> 32); }
inline float exp2_approximate(float x) { return exp2f(x); }
inline float widen(bf16_t x) { return float(x); }
inline float widen(f16_t x) { return float(x); }
template <class T>
T narrow_to(float x) {
  return T(x);
}

// ---- Launching.

// Few, so that the loops of small tests go round several times.
inline int most_blocks() { return 3; }

template <class Kernel>
struct Declared {
  static size_t now() { return emulator::declare(__PRETTY_FUNCTION__); }
  static inline const size_t index = now();
};

template <class Kernel>
void launch(Dim grid, const Kernel& kernel, int dynamic = 0) {
  static_assert(Kernel::threads % warp_size == 0 && Kernel::threads <= 1024);
  static_assert(std::is_trivially_copyable_v<Kernel>, "a kernel's arguments are copied to the device as bytes");
  if (grid.x == 0 || grid.y == 0 || grid.z == 0) return;
  emulator::run({Declared<Kernel>::index, grid, Kernel::threads, dynamic, [kernel] { kernel(); }});
}

}  // namespace mora::simt
