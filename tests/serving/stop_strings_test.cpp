#include "mora/serving/stop_strings.h"

#include <gtest/gtest.h>

namespace mora {
namespace {

// What is said of the pieces, one piece a line.
std::string said(StopStrings stop, const std::vector<std::string>& pieces) {
  std::string all;
  for (const std::string& piece : pieces) all += stop.push(piece) + "|";
  return all + stop.finish() + (stop.found() ? "!" : "");
}

TEST(StopStrings, TheTextEndsBeforeTheFirstOfThem) {
  EXPECT_EQ(said(StopStrings({"END", "\n\n"}), {"one ", "two\n", "\nthree"}), "one |two||!");
  EXPECT_EQ(said(StopStrings({"END", "two"}), {"one two END"}), "one |!");
  EXPECT_EQ(said(StopStrings({"b"}), {"abc", "d"}), "a||!");
  EXPECT_EQ(said(StopStrings({}), {"abc", "d"}), "abc|d|");
}

TEST(StopStrings, WhatMayBecomeOneIsHeldBackAndSaidWhenItDoesNot) {
  EXPECT_EQ(said(StopStrings({"END"}), {"the E", "N", "d", " E"}), "the ||ENd| |E");
  EXPECT_EQ(said(StopStrings({"aab"}), {"a", "a", "a", "b"}), "||a||!");
}

}  // namespace
}  // namespace mora
