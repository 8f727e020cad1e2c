// "did you mean": the known name closest to a mistyped one.
#pragma once

#include <span>
#include <string>
#include <string_view>

namespace mora {

// The candidate with the smallest edit distance to `word` (Levenshtein 1966; case is ignored), or "" if none is near:
// within a third of the word's length, two edits for a short word (a transposition is two) and none for two letters.
std::string nearest_name(std::string_view word, std::span<const std::string> candidates);

}  // namespace mora
