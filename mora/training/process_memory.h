// The process's resident memory, as the kernel counts it.
#pragma once

#include <cstdint>

namespace mora {

int64_t resident_bytes();       // now; 0 where /proc is not mounted
int64_t peak_resident_bytes();  // the most so far

}  // namespace mora
