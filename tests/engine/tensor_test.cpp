#include "engine/tensor.h"

#include <gtest/gtest.h>

namespace mora {
namespace {

TEST(Tensor, HoldsWhatItIsMadeFrom) {
  const std::vector<float> values = {1, 2, 3, 4, 5, 6};
  const Tensor t = Tensor::from(values, {2, 3});
  EXPECT_EQ(t.shape(), (Shape{2, 3}));
  EXPECT_EQ(t.strides(), (Strides{3, 1}));
  EXPECT_EQ(t.bytes(), 24u);
  EXPECT_TRUE(t.is_contiguous());
  EXPECT_EQ(t.values<float>()[5], 6);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(t.raw()) % 64, 0u);
  EXPECT_THROW(Tensor::from(values, {2, 2}), ShapeError);
  EXPECT_THROW(t.data<double>(), DTypeError);
}

TEST(Tensor, AliasesShareStorageAndVersions) {
  Tensor t = Tensor::zeros({2, 3});
  Tensor column = t.alias({2}, {3}, 1);
  EXPECT_FALSE(column.is_contiguous());
  EXPECT_THROW(column.values<float>(), ShapeError);
  const uint32_t before = t.version();
  column.mutable_data<float>()[3] = 7;
  EXPECT_EQ(t.values<float>()[4], 7);
  EXPECT_EQ(t.version(), before + 1);
  EXPECT_FALSE(t.same_as(column));
}

TEST(Tensor, SizeOneDimensionsDoNotMatterForContiguity) {
  const Tensor t = Tensor::zeros({4, 3});
  EXPECT_TRUE(t.alias({4, 1, 3}, {3, 99, 1}, 0).is_contiguous());
  EXPECT_TRUE(t.alias({0, 3}, {7, 5}, 0).is_contiguous());
  EXPECT_FALSE(t.alias({3, 4}, {1, 3}, 0).is_contiguous());
}

TEST(Tensor, ItemReadsOneElementOfAnyDtype) {
  EXPECT_EQ(Tensor::from(std::vector<bf16_t>{bf16_t(1.5f)}, {}).item(), 1.5);
  EXPECT_EQ(Tensor::from(std::vector<f16_t>{f16_t(-2.5f)}, {1}).item(), -2.5);
  EXPECT_EQ(Tensor::from(std::vector<int64_t>{-9}, {1, 1}).item(), -9);
  EXPECT_THROW(Tensor::zeros({2}).item(), ShapeError);
  EXPECT_THROW(Tensor().item(), InternalError);
}

TEST(Tensor, ForeignMemoryLivesAsLongAsTheTensor) {
  auto owner = std::make_shared<std::vector<float>>(8, 2.f);
  const std::weak_ptr<std::vector<float>> watch = owner;
  {
    const Tensor t = Tensor::foreign(owner->data(), {8}, DType::f32, owner);
    owner.reset();
    EXPECT_FALSE(watch.expired());
    EXPECT_TRUE(t.storage()->is_foreign());
    EXPECT_EQ(t.values<float>()[7], 2);
  }
  EXPECT_TRUE(watch.expired());
}

TEST(Tensor, RefusesImpossibleSizesAndDevices) {
  EXPECT_THROW(Tensor::empty({-1}), ShapeError);
  EXPECT_THROW(Tensor::empty({INT64_MAX, 3}), ShapeError);
  EXPECT_THROW(Tensor::empty({1}, DType::f32, {DeviceKind::cuda, 0}), DeviceError);
}

TEST(Device, ParsesItsNames) {
  EXPECT_EQ(parse_device("cpu"), cpu);
  EXPECT_EQ(to_string(parse_device("cuda:3")), "cuda:3");
  for (const char* bad : {"", "gpu", "cuda:", "cuda:-1", "cuda:999", "cuda:1x"})
    EXPECT_THROW(parse_device(bad), DeviceError);
}

}  // namespace
}  // namespace mora
