// The emulator's matrix instructions and asynchronous copies: lanes hold what PTX ISA's tables say ("Matrix fragments
// for mma.m16n8k16 with floating point type", "ldmatrix"), written down here once more.
#include <gtest/gtest.h>

#include "cuda/twin.h"
#include "kernels/cuda/simt.h"

namespace mora::test {
namespace {

using simt::Array;
using simt::KernelError;

int group() { return simt::lane() >> 2; }           // "groupID"
int thread_in_group() { return simt::lane() % 4; }  // "threadID_in_group"

// a (16, 16), b (16, 8) and c (16, 8) of one warp.
template <class T>
struct MultiplyAdd {
  static constexpr int threads = 32;
  Array<const T> a, b;
  Array<float> c;

  void operator()() const {
    T left[8], right[4];
    float sum[4];
    for (int i = 0; i < 8; ++i) {
      const int row = i < 2 || (i >= 4 && i < 6) ? group() : group() + 8;
      const int column = thread_in_group() * 2 + (i & 1) + (i < 4 ? 0 : 8);
      left[i] = a[row * 16 + column];
    }
    for (int i = 0; i < 4; ++i) {
      const int row = thread_in_group() * 2 + (i & 1) + (i < 2 ? 0 : 8), column = group();
      right[i] = b[row * 8 + column];
    }
    const auto at = [](int i) { return (i < 2 ? group() : group() + 8) * 8 + thread_in_group() * 2 + (i & 1); };
    for (int i = 0; i < 4; ++i) sum[i] = c[at(i)];
    const uint32_t a_registers[4] = {simt::both(left[0], left[1]), simt::both(left[2], left[3]),
                                     simt::both(left[4], left[5]), simt::both(left[6], left[7])};
    const uint32_t b_registers[2] = {simt::both(right[0], right[1]), simt::both(right[2], right[3])};
    simt::multiply_matrices<T>(a_registers, b_registers, sum);
    for (int i = 0; i < 4; ++i) c[at(i)] = sum[i];
  }
};

template <class T>
void expect_product(DType dtype) {
  const Values a = normal_values(256, 1), b = normal_values(128, 2), c = normal_values(128, 3);
  const Tensor left = tensor_of(a, {16, 16}, dtype), right = tensor_of(b, {16, 8}, dtype);
  const Values rounded_a = values_of(left), rounded_b = values_of(right);
  Tensor sum = tensor_of(c, {16, 8}, DType::f32).to(device);
  const Tensor left_there = left.to(device), right_there = right.to(device);
  simt::launch(
      {1}, MultiplyAdd<T>{{left_there.data<T>(), 256}, {right_there.data<T>(), 128}, {sum.mutable_data<float>(), 128}});
  const Values got = values_of(sum.to(cpu));
  for (size_t i = 0; i < 16; ++i) {
    for (size_t j = 0; j < 8; ++j) {
      double expected = c[8 * i + j];
      for (size_t k = 0; k < 16; ++k) expected += rounded_a[16 * i + k] * rounded_b[8 * k + j];
      EXPECT_NEAR(got[8 * i + j], expected, 1e-5) << i << ", " << j;
    }
  }
}

TEST(WarpProducts, MultiplyAsAPlainProduct) {
  expect_product<bf16_t>(DType::bf16);
  expect_product<f16_t>(DType::f16);
}

// Four matrices of 8 by 8 that lie in rows of 24 elements, the numbers 0 … 255 from the first to the last.
template <bool transposed>
struct LoadMatrices {
  static constexpr int threads = 32;
  Array<int32_t> y;  // (4, 32, 2): of matrix m, what lane l gets

  void operator()() const {
    constexpr int stride = 24;
    const auto s = simt::shared<f16_t, 32 * stride, LoadMatrices>();
    for (int i = 0; i < 8; ++i) s[simt::lane() * stride + i] = f16_t(float(simt::lane() * 8 + i));
    simt::barrier();
    uint32_t got[4];
    simt::load_matrices<transposed>(s, simt::lane() * stride, got);  // lanes 8m … 8m + 7: the rows of matrix m
    for (int m = 0; m < 4; ++m) {
      for (int half = 0; half < 2; ++half) {
        f16_t x;
        x.bits = uint16_t(got[m] >> (16 * half));
        y[(m * 32 + simt::lane()) * 2 + half] = int32_t(float(x));
      }
    }
  }
};

TEST(WarpProducts, LoadMatricesRowByRowAndColumnByColumn) {
  Tensor rows = Tensor::zeros({4, 32, 2}, DType::i32, device), columns = Tensor::zeros({4, 32, 2}, DType::i32, device);
  simt::launch({1}, LoadMatrices<false>{{rows.mutable_data<int32_t>(), 256}});
  simt::launch({1}, LoadMatrices<true>{{columns.mutable_data<int32_t>(), 256}});
  const Tensor rows_here = rows.to(cpu), columns_here = columns.to(cpu);
  for (int m = 0; m < 4; ++m) {
    for (int lane = 0; lane < 32; ++lane) {
      for (int half = 0; half < 2; ++half) {
        const int i = (m * 32 + lane) * 2 + half, inner = lane % 4 * 2 + half, outer = lane / 4;
        EXPECT_EQ(rows_here.data<int32_t>()[i], m * 64 + outer * 8 + inner);
        EXPECT_EQ(columns_here.data<int32_t>()[i], m * 64 + inner * 8 + outer);
      }
    }
  }
}

// A kernel of one block of 64 threads that does what F says with 64 numbers to read and 64 to write.
template <class F>
struct Copying {
  static constexpr int threads = 64;
  Array<const float> x;
  Array<float> y;
  void operator()() const { F()(x, y, simt::shared<float, 64, F>(), simt::thread_index()); }
};
template <class F>
Values run(F) {
  Values numbers(64);
  for (size_t i = 0; i < numbers.size(); ++i) numbers[i] = double(i);
  const Tensor x = tensor_of(numbers, {64}, DType::f32).to(device);
  Tensor y = Tensor::zeros({64}, DType::f32, device);
  simt::launch({1}, Copying<F>{{x.data<float>(), 64}, {y.mutable_data<float>(), 64}});
  return values_of(y.to(cpu));
}
using Numbers = Array<const float>;

TEST(AsynchronousCopies, AreThereBehindWaitAndBarrier) {
  const Values y = run([](const Numbers& x, const Array<float>& out, const simt::Shared<float>& s, int me) {
    if (me < 8) simt::copy_async<4>(s, 4 * me, x, 4 * me);
    if (me >= 32) simt::copy_async<1>(s, me, x, me);
    simt::wait_for_copies();
    simt::barrier();
    out[me] = s[63 - me];
  });
  for (size_t i = 0; i < 64; ++i) EXPECT_EQ(y[i], double(63 - i));
}

TEST(AsynchronousCopies, AreNotThereWithout) {
  const Values y = run([](const Numbers& x, const Array<float>& out, const simt::Shared<float>& s, int me) {
    simt::copy_async<1>(s, me, x, me);
    simt::barrier();
    out[me] = s[63 - me];
  });
  for (const double v : y) EXPECT_TRUE(std::isnan(v));
  const auto no_barrier = [](const Numbers& x, const Array<float>& out, const simt::Shared<float>& s, int me) {
    simt::copy_async<1>(s, me, x, me);
    simt::wait_for_copies();
    out[me] = s[63 - me];
  };
  EXPECT_THROW(run(no_barrier), KernelError);
  const auto unaligned = [](const Numbers& x, const Array<float>&, const simt::Shared<float>& s, int me) {
    if (me == 0) simt::copy_async<4>(s, 0, x, 2);
  };
  EXPECT_THROW(run(unaligned), KernelError);
  const auto over_what_is_read = [](const Numbers& x, const Array<float>& out, const simt::Shared<float>& s, int me) {
    s[me] = 0;
    simt::barrier();
    out[me] = s[63 - me];
    simt::copy_async<1>(s, me, x, me);
  };
  EXPECT_THROW(run(over_what_is_read), KernelError);
}

}  // namespace
}  // namespace mora::test
