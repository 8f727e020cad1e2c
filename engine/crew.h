// Short parallel_for calls in a row: decoding makes five a layer, of some tens of microseconds each.
#pragma once

#include <array>
#include <cstddef>
#include <span>

#include "engine/parallel.h"

namespace mora {

// Runs `body` on this thread while the other threads spin, waiting for its calls of parallel_for: such a call costs
// less than half of what waking threads does. For bodies that are busy from end to end. A library with threads of its
// own (oneDNN) must not run in it: it would find itself inside a parallel region. An exception in `body` reaches the
// caller.
void with_crew(FunctionRef<void()> body);

// As parallel_for, for an f that may be called several times a thread and whose results do not depend on the ranges: in
// a crew, a thread that is through with its range takes pieces of the others'. n < 2³².
void parallel_pieces(int64_t n, int64_t grain, FunctionRef<void(int64_t begin, int64_t end)> f);

// In a crew: what is read after the next call of parallel_for or parallel_pieces, in equal parts by its threads; those
// that wait load the beginning of theirs into their caches meanwhile. The bytes stay where they are until the crew's
// end.
using NextReads = std::array<std::span<const std::byte>, 3>;
void announce(const NextReads& next);

}  // namespace mora
