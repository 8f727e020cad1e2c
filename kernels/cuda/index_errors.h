// Indices out of range. A kernel cannot throw, and waiting for it would hold up the processor; so it does without such
// an index and remembers it, and the next call that waits for the device throws.
#pragma once

#include "kernels/cuda/arrays.h"
#include "kernels/cuda/index_kind.h"

namespace mora::kernels::cuda {

struct IndexErrors {
  Array<IndexErrorWord> words;

  SIMT_DEVICE void remember(IndexKind kind, int32_t index, int64_t limit) const {
    const auto shown = IndexErrorWord(limit < 0x7FFFFFFF ? limit : 0x7FFFFFFF);
    simt::atomic_max(words, int64_t(kind), IndexErrorWord{1} << 63 | shown << 32 | uint32_t(index));
  }
};

inline IndexErrors index_errors(const View& words) { return {{static_cast<IndexErrorWord*>(words.data), words.size}}; }

}  // namespace mora::kernels::cuda
