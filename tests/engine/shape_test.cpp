#include "engine/shape.h"

#include <gtest/gtest.h>

namespace mora {
namespace {

TEST(Shape, CountsFromBothEnds) {
  const Shape s{2, 3, 4};
  EXPECT_EQ(s[-1], 4);
  EXPECT_EQ(s.numel(), 24);
  EXPECT_EQ(Shape{}.numel(), 1);
  EXPECT_EQ((Shape{3, 0}).numel(), 0);
  EXPECT_EQ(s.to_string(), "(2, 3, 4)");
  EXPECT_THROW(s[3], ShapeError);
  EXPECT_THROW(s[-4], ShapeError);
}

TEST(Shape, RefusesWhatHasNoSize) {
  EXPECT_THROW((Shape{2, -1}).numel(), ShapeError);
  EXPECT_THROW((Shape{INT64_MAX, 2}).numel(), ShapeError);
  EXPECT_THROW((Shape{1, 1, 1, 1, 1, 1, 1, 1, 1}), ShapeError);
}

TEST(Shape, BroadcastsAsNumpy) {
  EXPECT_EQ(broadcast_shapes({5, 1, 3}, {4, 1}, "add"), (Shape{5, 4, 3}));
  EXPECT_EQ(broadcast_shapes({}, {2, 3}, "add"), (Shape{2, 3}));
  EXPECT_EQ(broadcast_shapes({1}, {0}, "add"), (Shape{0}));
  try {
    broadcast_shapes({2, 3}, {2}, "add");
    FAIL();
  } catch (const ShapeError& e) {
    EXPECT_STREQ(e.what(), "add: shapes (2, 3) and (2) do not broadcast");
  }
}

TEST(Shape, ContiguousStridesAreRowMajor) {
  EXPECT_EQ(contiguous_strides({2, 3, 4}), (Strides{12, 4, 1}));
  EXPECT_EQ(contiguous_strides({}), Strides{});
}

}  // namespace
}  // namespace mora
