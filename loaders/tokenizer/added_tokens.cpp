#include "loaders/tokenizer/added_tokens.h"

#include <algorithm>

#include "loaders/tokenizer/codepoint.h"
#include "loaders/tokenizer/unicode.h"

namespace mora::tokenizer {
namespace {

bool ends_in_word(std::string_view text) {
  return !text.empty() && (char_flags(codepoint_at(text, previous_boundary(text, text.size()))) & kWord) != 0;
}

bool begins_with_word(std::string_view text) {
  return !text.empty() && (char_flags(codepoint_at(text, 0)) & kWord) != 0;
}

// Where the white space before `at` begins, but not before `least`.
size_t space_begin(std::string_view text, size_t at, size_t least) {
  while (at > least) {
    const size_t before = previous_boundary(text, at);
    if (!is_space(codepoint_at(text, before))) break;
    at = before;
  }
  return at;
}

size_t space_end(std::string_view text, size_t at) {
  while (at < text.size()) {
    size_t next = at;
    if (!is_space(next_codepoint(text, next))) break;
    at = next;
  }
  return at;
}

}  // namespace

std::vector<AddedToken> read_added_tokens(const JsonField& list) {
  std::vector<AddedToken> tokens(list.items());
  for (size_t i = 0; i < tokens.size(); ++i) {
    const JsonField field = list.item(i);
    AddedToken& token = tokens[i];
    token.content = field["content"].text();
    token.id = field["id"].id();
    token.special = field.boolean_or("special", false);
    token.single_word = field.boolean_or("single_word", false);
    token.lstrip = field.boolean_or("lstrip", false);
    token.rstrip = field.boolean_or("rstrip", false);
    token.normalized = field.boolean_or("normalized", !token.special);
    if (token.content.empty()) throw field["content"].error("the token is empty");
  }
  return tokens;
}

AddedTokens::AddedTokens(std::vector<AddedToken> tokens, const Normalizer& normalizer) : tokens_(std::move(tokens)) {
  std::string scratch;
  for (const AddedToken& token : tokens_) {
    std::string text = token.content;
    if (token.normalized) normalizer.apply(text, scratch);
    if (!text.empty()) tries_[token.normalized].add(text, token.id);
    if (token.special) special_texts_.insert(token.content);
    places_[token.id] = decoded_.size();
    decoded_.push_back(std::move(text));
  }
}

std::string_view AddedTokens::decoded(int32_t id) const {
  const auto place = places_.find(id);
  return place == places_.end() ? std::string_view() : decoded_[place->second];
}

bool AddedTokens::is_special(int32_t id) const {
  const auto place = places_.find(id);
  return place != places_.end() && tokens_[place->second].special;
}

void AddedTokens::divide(std::string_view text, bool normalized, std::vector<AddedMatch>& out) const {
  const Trie& trie = tries_[normalized];
  size_t rest = 0;  // text before it is in `out`
  for (size_t at = 0; at < text.size() && !trie.empty();) {
    if (!trie.may_begin_with(text[at])) {
      ++at;
      continue;
    }
    const Trie::Match match = trie.longest_prefix(text.substr(at));
    if (match.value < 0) {
      ++at;
      continue;
    }
    size_t begin = at, end = at + match.bytes;
    at = end;  // where the search goes on, whether the match counts or not
    const AddedToken& found = token(match.value);
    if (found.single_word && (ends_in_word(text.substr(0, begin)) || begins_with_word(text.substr(end)))) continue;
    if (found.lstrip) begin = std::max(space_begin(text, begin, std::min(begin, rest)), rest);
    if (found.rstrip) end = space_end(text, end);
    if (rest < begin) out.push_back({-1, rest, begin});
    out.push_back({match.value, begin, end});
    rest = end;
  }
  if (rest != text.size()) out.push_back({-1, rest, text.size()});
}

}  // namespace mora::tokenizer
