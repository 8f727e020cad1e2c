#include "loaders/tokenizer/tokenizer.h"

namespace mora {
namespace {

constexpr std::string_view kReplacement = "\uFFFD";

// A character has at most four bytes, and so many tokens: behind more that do not make one, none is under way.
constexpr size_t kLongestCharacter = 4;

}  // namespace

std::string DecodeStream::push(int32_t id) {
  ids_.push_back(id);
  std::string text = tokenizer_.decode(ids_, skip_special_);
  const bool incomplete = text.ends_with(kReplacement) && ids_.size() - context_ < kLongestCharacter;
  if (incomplete || text.size() <= known_.size()) return {};
  std::string piece = text.starts_with(known_) ? text.substr(known_.size()) : std::string();
  ids_.erase(ids_.begin(), ids_.begin() + static_cast<ptrdiff_t>(context_));
  context_ = ids_.size();
  known_ = tokenizer_.decode(ids_, skip_special_);
  return piece;
}

std::string DecodeStream::finish() {
  const std::string text = tokenizer_.decode(ids_, skip_special_);
  std::string piece = text.size() > known_.size() ? text.substr(known_.size()) : std::string();
  ids_.clear();
  context_ = 0;
  known_.clear();
  return piece;
}

}  // namespace mora
