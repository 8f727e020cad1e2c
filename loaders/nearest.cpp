#include "loaders/nearest.h"

#include <algorithm>
#include <cctype>
#include <vector>

namespace mora {
namespace {

char lower(char c) { return static_cast<char>(std::tolower(static_cast<unsigned char>(c))); }

// Two rows of the dynamic programme: row[j] = distance between the first i characters of a and the first j of b.
size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t substitution = diagonal + (lower(a[i - 1]) != lower(b[j - 1]));
      diagonal = row[j];
      row[j] = std::min({substitution, row[j] + 1, row[j - 1] + 1});
    }
  }
  return row[b.size()];
}

}  // namespace

std::string nearest_name(std::string_view word, std::span<const std::string> candidates) {
  constexpr size_t kMaxName = 256;  // names of a file from outside: the programme above is quadratic
  std::string best;
  size_t best_distance = 1 + (word.size() <= 2 ? 0 : word.size() == 3 ? 1 : std::max<size_t>(2, word.size() / 3));
  for (const std::string& candidate : candidates) {
    if (word.size() > kMaxName || candidate.size() > kMaxName) continue;
    const size_t distance = edit_distance(word, candidate);
    if (distance < best_distance) {
      best_distance = distance;
      best = candidate;
    }
  }
  return best;
}

}  // namespace mora
