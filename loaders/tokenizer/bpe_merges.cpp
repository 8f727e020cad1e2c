#include "loaders/tokenizer/bpe_merges.h"

#include <algorithm>
#include <functional>

#include "loaders/quote.h"
#include "loaders/tokenizer/codepoint.h"

namespace mora::tokenizer {

using Symbol = ModelWorkspace::Symbol;

namespace {

// The two tokens of a merge.
std::pair<std::string_view, std::string_view> read_pair(const JsonField& list, size_t i) {
  const nlohmann::json& merge = list.json()[i];
  if (merge.is_string()) {
    const std::string_view text = merge.get_ref<const std::string&>();
    const size_t space = text.find(' ');
    if (space == text.npos || text.find(' ', space + 1) != text.npos) {
      throw list.item(i).error("{} is not two tokens with a space between", quote(text));
    }
    return {text.substr(0, space), text.substr(space + 1)};
  }
  if (!merge.is_array() || merge.size() != 2 || !merge[0].is_string() || !merge[1].is_string()) {
    throw list.item(i).error("expected \"a b\" or [\"a\", \"b\"]");
  }
  return {merge[0].get_ref<const std::string&>(), merge[1].get_ref<const std::string&>()};
}

}  // namespace

BpeMerges::BpeMerges(const JsonField& field, const Vocabulary& vocabulary, size_t prefix, int32_t unknown)
    : merges_(field.items()) {
  results_.reserve(field.items());
  pairs_.reserve(field.items());
  for (size_t i = 0; i < field.items(); ++i) add(field, i, vocabulary, prefix);
  find_junctions(vocabulary, unknown);
  pairs_ = {};
}

void BpeMerges::add(const JsonField& field, size_t i, const Vocabulary& vocabulary, size_t prefix) {
  if (const auto& merge = field.json()[i];
      merge.is_string() && merge.get_ref<const std::string&>().starts_with("#version")) {
    return;
  }
  const auto [left, right] = read_pair(field, i);
  const auto find = [&](std::string_view token) {
    const int32_t id = vocabulary.find(token);
    if (id < 0) throw field.item(i).error("token {} is not in the vocabulary", quote(token));
    return id;
  };
  const int32_t left_id = find(left), right_id = find(right);
  if (right.size() < prefix) throw field.item(i).error("token {} lacks the continuing_subword_prefix", quote(right));
  const int32_t merged = find(std::string(left) + std::string(right.substr(prefix)));
  merges_[pair_key(left_id, right_id)] = {static_cast<uint32_t>(results_.size()), merged};
  results_.push_back(merged);
  pairs_.push_back(pair_key(left_id, right_id));
}

// A merge (a, b) joins the last character of a to the first of b. Byte tokens such as <0x0A> and the unknown token are
// one symbol but several characters; if one is ever merged, nothing is known about junctions.
void BpeMerges::find_junctions(const Vocabulary& vocabulary, int32_t unknown) {
  const auto is_one_symbol = [&](std::string_view token) {
    return (token.size() == 6 && token.starts_with("<0x")) || token == vocabulary.token(unknown);
  };
  for (const uint64_t pair : pairs_) {
    const std::string_view left = vocabulary.token(static_cast<int32_t>(pair >> 32));
    const std::string_view right = vocabulary.token(static_cast<int32_t>(pair & 0x7FFFFFFF));
    if (is_one_symbol(left) || is_one_symbol(right)) return;
    const int32_t last = vocabulary.find(left.substr(previous_boundary(left, left.size())));
    const int32_t first = vocabulary.find(right.substr(0, utf8_length(right[0])));
    if (last >= 0 && first >= 0) junctions_[pair_key(last, first)] = 1;
  }
  has_junctions_ = true;
}

void BpeMerges::run(std::vector<Symbol>& symbols, std::vector<uint64_t>& queue, std::vector<int32_t>& ids) const {
  constexpr size_t kShort = 24;
  for (size_t i = 0; i + 1 < symbols.size(); ++i) symbols[i].rank = rank(symbols[i].id, symbols[i + 1].id);
  if (!symbols.empty()) symbols.back().rank = kNone;
  if (symbols.size() <= kShort) {
    run_short(symbols, ids);
  } else {
    run_long(symbols, queue, ids);
  }
}

// Looks for the lowest rank anew after each merge: quadratic, and the quickest for a word.
void BpeMerges::run_short(std::vector<Symbol>& symbols, std::vector<int32_t>& ids) const {
  size_t count = symbols.size();
  while (count > 1) {
    size_t best = 0;
    for (size_t i = 1; i + 1 < count; ++i) {
      if (symbols[i].rank < symbols[best].rank) best = i;
    }
    if (symbols[best].rank == kNone) break;
    symbols[best].id = results_[symbols[best].rank];
    std::copy(symbols.begin() + static_cast<ptrdiff_t>(best) + 2, symbols.begin() + static_cast<ptrdiff_t>(count),
              symbols.begin() + static_cast<ptrdiff_t>(best) + 1);
    --count;
    symbols[best].rank = best + 1 < count ? rank(symbols[best].id, symbols[best + 1].id) : kNone;
    if (best > 0) symbols[best - 1].rank = rank(symbols[best - 1].id, symbols[best].id);
  }
  for (size_t i = 0; i < count; ++i) ids.push_back(symbols[i].id);
}

// A heap of (rank, place); symbols form a list. An entry whose pair has since changed is passed over.
void BpeMerges::run_long(std::vector<Symbol>& symbols, std::vector<uint64_t>& queue, std::vector<int32_t>& ids) const {
  const auto count = static_cast<int32_t>(symbols.size());
  const auto entry = [&](int32_t at) {
    return uint64_t{symbols[static_cast<size_t>(at)].rank} << 32 | static_cast<uint32_t>(at);
  };
  queue.clear();
  for (int32_t i = 0; i < count; ++i) {
    symbols[static_cast<size_t>(i)].previous = i - 1;
    symbols[static_cast<size_t>(i)].next = i + 1 < count ? i + 1 : -1;
    if (symbols[static_cast<size_t>(i)].rank != kNone) queue.push_back(entry(i));
  }
  std::make_heap(queue.begin(), queue.end(), std::greater<>());
  const auto update = [&](int32_t at) {  // the rank of the pair that begins at `at`
    Symbol& symbol = symbols[static_cast<size_t>(at)];
    symbol.rank = symbol.next < 0 ? kNone : rank(symbol.id, symbols[static_cast<size_t>(symbol.next)].id);
    if (symbol.rank == kNone) return;
    queue.push_back(entry(at));
    std::push_heap(queue.begin(), queue.end(), std::greater<>());
  };
  while (!queue.empty()) {
    std::pop_heap(queue.begin(), queue.end(), std::greater<>());
    const uint64_t top = queue.back();
    queue.pop_back();
    const auto at = static_cast<int32_t>(top & 0xFFFFFFFF);
    Symbol& left = symbols[static_cast<size_t>(at)];
    if (left.id < 0 || left.rank != top >> 32) continue;
    Symbol& right = symbols[static_cast<size_t>(left.next)];
    left.id = results_[left.rank];
    left.next = right.next;
    right.id = -1;  // merged away
    if (left.next >= 0) symbols[static_cast<size_t>(left.next)].previous = at;
    update(at);
    if (left.previous >= 0) update(left.previous);
  }
  for (int32_t i = 0; i >= 0 && count > 0; i = symbols[static_cast<size_t>(i)].next) {
    ids.push_back(symbols[static_cast<size_t>(i)].id);
  }
}

}  // namespace mora::tokenizer
