#include "engine/dtype.h"

#include <gtest/gtest.h>

#include <cmath>

namespace mora {
namespace {

// Every 16-bit pattern to f32 and back.
template <class T>
void round_trips() {
  for (uint32_t i = 0; i < 65536; ++i) {
    T half;
    half.bits = uint16_t(i);
    const auto wide = float(half);
    if (std::isnan(wide)) {
      EXPECT_TRUE(std::isnan(float(T(wide))));
    } else {
      ASSERT_EQ(T(wide).bits, i);
    }
  }
}

TEST(DType, Every16BitFloatSurvivesF32) {
  round_trips<bf16_t>();
  round_trips<f16_t>();
}

// Between each two neighbours: just below the middle rounds down, just above up, the middle to the even one.
template <class T>
void rounds_to_nearest_even(uint16_t last_finite) {
  for (uint16_t i = 0; i < last_finite; ++i) {
    T low, high;
    low.bits = i;
    high.bits = uint16_t(i + 1);
    const float middle = float(low) + (float(high) - float(low)) / 2;
    ASSERT_EQ(T(middle).bits, i % 2 == 0 ? i : i + 1);
    ASSERT_EQ(T(std::nextafter(middle, 0.f)).bits, i);
    ASSERT_EQ(T(std::nextafter(middle, HUGE_VALF)).bits, i + 1);
    ASSERT_EQ(T(-middle).bits, 0x8000u | (i % 2 == 0 ? i : i + 1));
  }
}

TEST(DType, RoundsToNearestEven) {
  rounds_to_nearest_even<f16_t>(0x7BFF);
  rounds_to_nearest_even<bf16_t>(0x7F7F);
}

TEST(DType, OverflowsToInfinity) {
  EXPECT_EQ(f16_t(65519.996f).bits, 0x7BFF);
  EXPECT_EQ(f16_t(65520.f).bits, 0x7C00);
  EXPECT_EQ(f16_t(-HUGE_VALF).bits, 0xFC00);
  EXPECT_EQ(bf16_t(3.4e38f).bits, 0x7F80);
  EXPECT_TRUE(std::isnan(float(bf16_t(std::bit_cast<float>(0x7F800001u)))));  // a NaN whose upper half is infinity
}

TEST(DType, SizesAndNames) {
  EXPECT_EQ(size_of(DType::bf16), 2u);
  EXPECT_EQ(size_of(DType::i64), 8u);
  EXPECT_EQ(name_of(DType::boolean), "bool");
  EXPECT_EQ(dtype_of<f16_t>, DType::f16);
  EXPECT_TRUE(is_floating(DType::f16));
  EXPECT_FALSE(is_floating(DType::i64));
}

}  // namespace
}  // namespace mora
