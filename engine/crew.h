// Short parallel_for calls in a row: decoding makes five a layer, of some tens of microseconds each.
#pragma once

#include "engine/parallel.h"

namespace mora {

// Runs `body` on this thread while the other threads spin, waiting for its calls of parallel_for: such a call costs
// less than half of what waking threads does. For bodies that are busy from end to end. A library with threads of its
// own (oneDNN) must not run in it: it would find itself inside a parallel region. An exception in `body` reaches the
// caller.
void with_crew(FunctionRef<void()> body);

}  // namespace mora
