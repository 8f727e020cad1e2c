// The process's resident memory and the machine's, as the kernel counts them.
#pragma once

#include <cstdint>

namespace mora {

int64_t resident_bytes();       // now; 0 where /proc is not mounted
int64_t peak_resident_bytes();  // the most so far
int64_t available_bytes();      // of the machine, for whoever asks for them now; 0 where /proc is not mounted

}  // namespace mora
