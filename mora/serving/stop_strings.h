// Cuts a text that comes in pieces before the first of several strings.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace mora {

class StopStrings {
 public:
  // None of them empty.
  explicit StopStrings(std::vector<std::string> strings) : strings_(std::move(strings)) {}

  // What can be said of the text so far and was not yet: an end of it that may become a stop string is held back.
  std::string push(std::string_view piece);
  // The text has ended: what was held back.
  std::string finish() { return found_ ? "" : std::move(held_); }
  bool found() const { return found_; }

 private:
  std::vector<std::string> strings_;
  std::string held_;
  bool found_ = false;
};

}  // namespace mora
