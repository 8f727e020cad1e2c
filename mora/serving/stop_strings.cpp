#include "mora/serving/stop_strings.h"

#include <algorithm>

namespace mora {

std::string StopStrings::push(std::string_view piece) {
  if (found_) return "";
  held_ += piece;
  size_t end = std::string::npos, longest = 0;
  for (const std::string& stop : strings_) {
    end = std::min(end, held_.find(stop));
    for (size_t n = std::min(stop.size() - 1, held_.size()); n > longest; --n)
      if (held_.ends_with(std::string_view(stop).substr(0, n))) longest = n;
  }
  found_ = end != std::string::npos;
  std::string said = held_.substr(0, found_ ? end : held_.size() - longest);
  held_.erase(0, said.size());
  return said;
}

}  // namespace mora
