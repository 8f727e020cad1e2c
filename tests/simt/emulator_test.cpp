// Each kind of mistake, made on purpose: the emulator sees it.
#include <gtest/gtest.h>

#include "cuda/twin.h"
#include "engine/cuda.h"
#include "kernels/cuda/simt.h"

namespace mora::test {
namespace {

using simt::Array;
using simt::KernelError;

// A kernel of one block of 64 threads that does what F says with an array of 64 numbers.
template <class F>
struct Body {
  static constexpr int threads = 64;
  Array<int> y;
  void operator()() const { F()(y); }
};

template <class F>
std::vector<int32_t> run(F, int dynamic = 0, int blocks = 1) {
  Tensor y = Tensor::zeros({64}, DType::i32, device);
  simt::launch({blocks}, Body<F>{{y.mutable_data<int32_t>(), 64}}, dynamic);
  const Tensor host = y.to(cpu);
  return {host.values<int32_t>().begin(), host.values<int32_t>().end()};
}

template <class F>
std::string error_of(F f, int dynamic = 0, int blocks = 1) {
  try {
    run(f, dynamic, blocks);
  } catch (const KernelError& error) {
    return error.what();
  }
  return "no error";
}

#define EXPECT_ERROR(fragment, ...)                                  \
  do {                                                               \
    const std::string message = error_of(__VA_ARGS__);               \
    EXPECT_NE(message.find(fragment), std::string::npos) << message; \
  } while (0)

int me() { return simt::thread_index(); }

TEST(Emulator, BarriersOrderSharedMemory) {
  const auto y = run([](Array<int> out) {
    const auto s = simt::shared<int, 64, void>();
    s[me()] = me();
    simt::barrier();
    out[me()] = s[63 - me()];
  });
  for (int i = 0; i < 64; ++i) EXPECT_EQ(y[size_t(i)], 63 - i);
}

TEST(Emulator, WarpBarriersOrderAWarp) {
  const auto y = run([](Array<int> out) {
    const auto s = simt::shared<int, 64, void>();
    s[me()] = me();
    simt::warp_barrier();
    out[me()] = s[me() ^ 5];
  });
  for (int i = 0; i < 64; ++i) EXPECT_EQ(y[size_t(i)], i ^ 5);
}

TEST(Emulator, ShufflesAndBallots) {
  const auto y = run([](Array<int> out) {
    double sum = me();  // 64 bits
    for (int mask = 16; mask > 0; mask /= 2) sum += simt::shuffle_xor(sum, mask);
    const int above = simt::shuffle_down(me(), 1), first = simt::shuffle(me(), 3);
    const uint32_t odd = simt::ballot(me() % 2 == 1);
    out[me()] = int(sum) * 10000 + above * 100 + first + (odd == 0xAAAAAAAAu ? 0 : 5000);
  });
  for (int i = 0; i < 64; ++i) {
    const int sum = i < 32 ? 496 : 1520, above = i % 32 == 31 ? i : i + 1, first = i < 32 ? 3 : 35;
    EXPECT_EQ(y[size_t(i)], sum * 10000 + above * 100 + first);
  }
}

TEST(Emulator, AtomicsOfSeveralBlocks) {
  const auto y = run(
      [](Array<int> out) {
        const auto s = simt::shared<int, 1, void>();
        if (me() == 0) s[0] = 0;
        simt::barrier();
        simt::atomic_add(s, 0, me());
        simt::barrier();
        if (me() == 0) simt::atomic_add(out, 1, int(s[0]));
        simt::atomic_max(out, 2, me() + simt::block_index().x);
      },
      0, 5);
  EXPECT_EQ(y[1], 5 * 2016);
  EXPECT_EQ(y[2], 63 + 4);
}

TEST(Emulator, SeesADivergentBarrier) {
  EXPECT_ERROR("threads wait for others that never come: from thread 0 at the barrier of emulator_test.cpp",
               [](Array<int>) {
                 if (me() < 40) simt::barrier();
               });
}

TEST(Emulator, SeesDifferentBarriers) {
  const auto body = [](Array<int>) {  // outside of the macro, which is one line to the compiler
    if (me() < 40)
      simt::barrier();
    else
      simt::barrier();
  };
  EXPECT_ERROR("never come", body);
}

TEST(Emulator, SeesADivergentShuffle) {
  EXPECT_ERROR("at the shuffle of", [](Array<int> out) {
    if (me() != 40) out[me()] = simt::shuffle_xor(me(), 1);
  });
}

TEST(Emulator, SeesAccessesOutOfRange) {
  EXPECT_ERROR("block (0, 0, 0), thread 63: element 64 of 64 in device memory",
               [](Array<int> out) { out[me() + 1] = 1; });
  EXPECT_ERROR("element -1 of 64 in shared memory", [](Array<int>) {
    const auto s = simt::shared<int, 64, void>();
    s[me() - 1] = 1;
  });
  EXPECT_ERROR(
      "bytes 64 to 320 of 256 of dynamic shared memory", [](Array<int>) { simt::dynamic_shared<int>(64, 64); }, 256);
}

TEST(Emulator, SeesUnalignedPacks) {
  EXPECT_ERROR("not a multiple", [](Array<int> out) {
    if (me() == 0) out.set_pack<4>(1, out.pack<4>(0));
  });
}

TEST(Emulator, SeesReadsOfWhatNobodyWrote) {
  EXPECT_ERROR("read that no thread wrote", [](Array<int> out) {
    const auto s = simt::shared<int, 64, void>();
    if (me() != 7) s[me()] = 1;
    simt::barrier();
    out[me()] = s[me()];
  });
}

TEST(Emulator, SeesAReadOfWhatTheBlockBeforeWrote) {
  EXPECT_ERROR(
      "read that no thread wrote",
      [](Array<int> out) {
        const auto s = simt::shared<int, 64, void>();
        if (simt::block_index().x == 0) s[me()] = 1;
        out[me()] = s[me()];
      },
      0, 2);
}

TEST(Emulator, SeesRacesBetweenBarriers) {
  EXPECT_ERROR("reads what was written by thread", [](Array<int> out) {
    const auto s = simt::shared<int, 64, void>();
    s[me()] = me();
    if (me() > 0) out[me()] = s[me() - 1];
  });
  EXPECT_ERROR("with no barrier in between", [](Array<int> out) {  // a barrier is missing behind the reads
    const auto s = simt::shared<int, 64, void>();
    s[me()] = me();
    simt::barrier();
    out[me()] = s[63 - me()];
    s[me()] = 0;
  });
  EXPECT_ERROR("with no barrier in between", [](Array<int> out) {  // a warp's barrier does not order two warps
    const auto s = simt::shared<int, 64, void>();
    s[me()] = me();
    simt::warp_barrier();
    out[me()] = s[63 - me()];
  });
  EXPECT_ERROR("writes what was written by thread", [](Array<int>) { simt::shared<int, 1, void>()[0] = 1; });
}

// Neighbours that share a word do not meet while each keeps to its own bytes.
TEST(Emulator, EveryByteOfAWordHasItsOwnOrder) {
  const auto y = run(
      [](Array<int> out) {
        const auto halves = simt::dynamic_shared<int16_t>(0, 64);
        const auto words = simt::dynamic_shared<int>(0, 32);
        halves[me()] = int16_t(me());
        simt::barrier();
        out[me()] = words[me() / 2];
        simt::barrier();
        if (me() < 32) words[me()] = me() << 16;
        simt::barrier();
        out[me()] = out[me()] + halves[me()];
      },
      128);
  for (int i = 0; i < 64; ++i)
    EXPECT_EQ(y[size_t(i)], (i / 2 * 2) + ((i / 2 * 2 + 1) << 16) + (i % 2 ? i / 2 : 0)) << i;
  EXPECT_ERROR(
      "with no barrier in between",
      [](Array<int> out) {
        const auto words = simt::dynamic_shared<int>(0, 32);
        if (me() < 32) words[me()] = 1;
        simt::barrier();
        if (me() == 63) out[0] = words[0];
        if (me() == 0) simt::dynamic_shared<int16_t>(0, 64)[1] = 2;
      },
      128);
}

TEST(Emulator, SeesResultsThatDependOnTheOrder) {
  EXPECT_ERROR("depends on the order of threads", [](Array<int> out) { out[0] = me(); });
  EXPECT_ERROR(
      "depends on the order of threads", [](Array<int> out) { out[0] = simt::block_index().x; }, 0, 2);
}

TEST(Emulator, MissingWritesShow) {
  const Tensor y = Tensor::empty({3}, DType::f32, device).to(cpu);
  for (const float v : y.values<float>()) EXPECT_TRUE(std::isnan(v));
}

TEST(Emulator, RunsOnAfterAnError) {
  EXPECT_ERROR("never come", [](Array<int>) {
    if (me() < 40) simt::barrier();
  });
  EXPECT_EQ(run([](Array<int> out) { out[me()] = me(); })[63], 63);
}

TEST(EmulatorDeathTest, TheProcessorCannotReadDeviceMemory) {
  const Tensor x = Tensor::zeros({3}, DType::f32, device);
  EXPECT_THROW(x.values<float>(), DeviceError);
  EXPECT_DEATH(
      {
        volatile float v = *x.data<float>();
        (void)v;
      },
      "");
}

TEST(DeviceMemory, TensorsMoveThereAndBack) {
  const Tensor x = Tensor::from(std::vector<float>{1, 2, 3, 4, 5, 6}, {2, 3});
  const Tensor there = x.to(device);
  EXPECT_EQ(there.device(), device);
  EXPECT_EQ(values_of(there.to(cpu)), values_of(x));
  EXPECT_TRUE(there.same_as(there.to(device)));
  const Tensor column = there.alias({2}, {3}, 1).to(cpu);  // a view, moved as one
  EXPECT_EQ(values_of(column), (Values{2, 5}));
  EXPECT_EQ(values_of(there.alias({2, 3}, {0, -1}, 5).to(cpu)), (Values{6, 5, 4, 6, 5, 4}));
  EXPECT_EQ(Tensor::zeros({0, 3}, DType::f32, device).to(cpu).numel(), 0);
  EXPECT_EQ(there.alias({1}, {1}, 4).item(), 5);
}

TEST(DeviceMemory, IsCounted) {
  const int64_t before = cuda::memory_stats(0).live_bytes;
  {
    const Tensor x = Tensor::empty({1000}, DType::f32, device);
    EXPECT_EQ(cuda::memory_stats(0).live_bytes, before + 4000);
  }
  EXPECT_EQ(cuda::memory_stats(0).live_bytes, before);
  EXPECT_THROW(Tensor::empty({1}, DType::f32, {DeviceKind::cuda, 1}), DeviceError);
}

}  // namespace
}  // namespace mora::test
