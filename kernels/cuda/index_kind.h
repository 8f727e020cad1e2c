// What an index of a kernel names. Indices out of range: kernels/cuda/index_errors.h.
#pragma once

namespace mora::kernels::cuda {

enum class IndexKind { label, position, row };
inline constexpr int index_kinds = 3;

// A word a kind: 0, or the largest of `limit << 32 | index` of what was out of range, with the upper bit set.
using IndexErrorWord = unsigned long long;

}  // namespace mora::kernels::cuda
