#include "kernels/softmax.h"

#include "cuda/twin.h"

namespace mora::test {
namespace {

DType arithmetic_of(DType dtype) { return dtype == DType::f64 ? DType::f64 : DType::f32; }

Tensor numbers(int64_t rows, int64_t length, DType dtype, uint64_t seed = 1) {
  return tensor_of(normal_values(rows * length, seed, 2), {rows, length}, dtype);
}

// Rows for a warp and for a block, whole packs and not; a vocabulary.
constexpr std::pair<int64_t, int64_t> sizes[] = {{0, 8},    {1, 1},    {3, 2},    {9, 7},    {30, 8},
                                                 {11, 100}, {2, 1024}, {2, 1025}, {5, 4096}, {1, 49152}};

void expect_softmax_is_a_twin(const Tensor& x, double factor = 1) {
  const Shape& shape = x.shape();
  const DType dtype = x.dtype();
  const Tensor y = unwritten(shape, dtype), gy = numbers(shape[0], shape[1], dtype, 2);
  const double close = 4 * factor * tolerance(dtype);
  expect_twins({x, gy, y, y}, close, [](Tensors& t) {
    kernels::softmax(t[0], t[2]);
    kernels::softmax_backward(t[2], t[1], t[3]);
  });
  expect_twins({x, gy, y, y}, close, [](Tensors& t) {
    kernels::log_softmax(t[0], t[2]);
    kernels::log_softmax_backward(t[2], t[1], t[3]);
  });
}

TEST(SimtSoftmax, OfEachDType) {
  for (const DType dtype : floating_dtypes) {
    for (const auto& [rows, length] : sizes) {
      SCOPED_TRACE(fmt::format("{} rows of {} in {}", rows, length, name_of(dtype)));
      expect_softmax_is_a_twin(numbers(rows, length, dtype), length > 10000 ? 4 : 1);
    }
  }
}

TEST(SimtSoftmax, LargeAndInfiniteScores) {
  const double inf = HUGE_VAL;
  const Values x{1e30, 1e30, -1e30, -inf, -inf, 5, 88, 89, 90, 1000, 999, -1000, -inf, -inf, -inf, 1, NAN, 2};
  for (const DType dtype : floating_dtypes) expect_softmax_is_a_twin(tensor_of(x, {6, 3}, dtype));
  Values late(3000, -inf);  // threads that see nothing but −∞
  late[2000] = late[2001] = 1;
  expect_softmax_is_a_twin(tensor_of(late, {1, 3000}, DType::f32));
}

enum Place { x, labels, gloss, loss, lse, gx };

Tensors losses(int64_t rows, int64_t length, DType dtype) {
  const DType arithmetic = arithmetic_of(dtype);
  std::vector<int32_t> label;
  for (int64_t n = 0; n < rows; ++n) label.push_back(n % 4 == 3 ? -100 : int32_t((n * 7919 + length - 1) % length));
  return {numbers(rows, length, dtype),
          Tensor::from(label, {rows}),
          tensor_of(normal_values(rows, 5), {rows}, arithmetic),
          unwritten({rows}, arithmetic),
          unwritten({rows}, arithmetic),
          unwritten({rows, length}, dtype)};
}

void cross_entropy(Tensors& t) {
  kernels::cross_entropy(t[x], t[labels], t[loss], t[lse]);
  kernels::cross_entropy_backward(t[x], t[labels], t[lse], t[gloss], t[gx]);
}

TEST(SimtSoftmax, CrossEntropyAndItsGradient) {
  for (const DType dtype : floating_dtypes) {
    for (const auto& [rows, length] : sizes) {
      SCOPED_TRACE(fmt::format("{} rows of {} in {}", rows, length, name_of(dtype)));
      expect_twins(losses(rows, length, dtype), 2 * tolerance(dtype), cross_entropy);
      expect_twins(losses(rows, length, dtype), 2 * tolerance(dtype), [](Tensors& t) {
        t[gx] = t[x];  // in place
        cross_entropy(t);
      });
    }
  }
}

TEST(SimtSoftmax, UnalignedRows) {
  for (const DType dtype : floating_dtypes) {
    expect_twins(losses(6, 40, dtype), 2 * tolerance(dtype), [](Tensors& t) {
      Tensors middle = t;
      for (const Place place : {x, gx}) middle[place] = t[place].alias({5, 40}, {40, 1}, 3);
      for (const Place place : {labels, gloss, loss, lse}) middle[place] = t[place].alias({5}, {1}, 1);
      cross_entropy(middle);
    });
  }
}

// The kernel goes on; who waits for the device next is told.
TEST(SimtSoftmax, ALabelOutOfRangeIsNamedWhenTheDeviceIsWaitedFor) {
  for (const int64_t length : {3, 2000}) {
    Tensors tensors = losses(3, length, DType::f32);
    tensors[labels].mutable_data<int32_t>()[1] = int32_t(length + 4);
    tensors[labels].mutable_data<int32_t>()[2] = int32_t(length + 1);
    for (Tensor& t : tensors) t = t.to(device);
    const auto message = [&] {
      try {
        (void)tensors[loss].to(cpu);
      } catch (const ShapeError& error) {
        return std::string(error.what());
      }
      return std::string("no error");
    };
    kernels::cross_entropy(tensors[x], tensors[labels], tensors[loss], tensors[lse]);
    EXPECT_EQ(message(), fmt::format("cross_entropy: label {} of {} classes", length + 4, length));
    EXPECT_EQ(message(), "no error");  // it is told once
    const Tensor values = tensors[loss].to(cpu);
    EXPECT_TRUE(std::isfinite(values.data<float>()[0]));
    EXPECT_TRUE(std::isnan(values.data<float>()[1]));
    kernels::cross_entropy_backward(tensors[x], tensors[labels], tensors[lse], tensors[gloss], tensors[gx]);
    EXPECT_EQ(message(), fmt::format("cross_entropy: label {} of {} classes", length + 4, length));
  }
}

TEST(SimtSoftmax, WrongTensorsAreRefused) {
  const Tensor scores = Tensor::zeros({2, 3}, DType::f32, device);
  Tensor narrow = Tensor::zeros({2, 2}, DType::f32, device), half = Tensor::zeros({2, 3}, DType::f16, device);
  Tensor per_row = Tensor::zeros({2}, DType::f32, device);
  EXPECT_THROW(kernels::softmax(scores, narrow), ShapeError);
  EXPECT_THROW(kernels::softmax(scores, half), DTypeError);
  EXPECT_THROW(kernels::cross_entropy(scores, per_row, per_row, per_row), DTypeError);
  EXPECT_THROW(kernels::cross_entropy(scores, Tensor::zeros({2}, DType::i32), per_row, per_row), DeviceError);
}

}  // namespace
}  // namespace mora::test
