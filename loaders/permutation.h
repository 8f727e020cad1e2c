// A random order that is a pure function of its key.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "engine/random.h"

namespace mora {

// 0 … n−1 shuffled: Fisher and Yates, with the key's stream (Durstenfeld 1964, Algorithm 235).
std::vector<int64_t> permutation(int64_t n, const RandomKey& key);

}  // namespace mora
