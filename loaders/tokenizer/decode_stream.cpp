#include "loaders/tokenizer/tokenizer.h"

namespace mora {
namespace {

constexpr std::string_view kReplacement = "\uFFFD";  // also what an incomplete character looks like

// A character has at most four bytes, and so many tokens: behind more that end in no character, none is under way.
constexpr int kLongestCharacter = 4;
constexpr size_t kLongestWindow = 256;  // tokens decoded again at each step

}  // namespace

std::string DecodeStream::push(int32_t id) {
  ids_.push_back(id);
  const std::string text = tokenizer_.decode(ids_, skip_special_);
  std::string_view settled = text;
  incomplete_ = text.ends_with(kReplacement) ? incomplete_ + 1 : 0;
  if (incomplete_ > 0 && incomplete_ < kLongestCharacter) return {};
  if (incomplete_ > 0) settled.remove_suffix(kReplacement.size());
  if (settled.size() <= known_.size()) return {};
  std::string piece = behind_known(settled);
  if (incomplete_ == 0 || ids_.size() > kLongestWindow) {
    ids_.erase(ids_.begin(), ids_.begin() + static_cast<ptrdiff_t>(context_));
    context_ = ids_.size();
    known_ = tokenizer_.decode(ids_, skip_special_);
  } else {
    known_ = settled;
  }
  return piece;
}

std::string DecodeStream::finish() {
  const std::string text = tokenizer_.decode(ids_, skip_special_);
  std::string piece = behind_known(text);
  ids_.clear();
  context_ = 0;
  incomplete_ = 0;
  known_.clear();
  return piece;
}

std::string DecodeStream::behind_known(std::string_view text) const {
  size_t same = 0;
  while (same < text.size() && same < known_.size() && text[same] == known_[same]) ++same;
  return std::string(text.substr(same));
}

}  // namespace mora
