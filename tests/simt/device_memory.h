// The emulated device's memory: pages of this process that nobody may touch outside of launches and copies, so that the
// processor faults on them as it would on a card's. A block ends at a page that is never open; fresh memory is NaN.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace mora::simt::emulator {

inline int64_t memory_bytes = int64_t{4} << 30;  // that the card says it has

// While one lives, device memory can be read and written.
class OpenMemory {
 public:
  OpenMemory();
  ~OpenMemory();
  OpenMemory(const OpenMemory&) = delete;
  OpenMemory& operator=(const OpenMemory&) = delete;
};

// The bytes of all blocks at one time. Device memory must be open.
class MemoryImage {
 public:
  static MemoryImage take();
  void restore() const;
  // Where memory is not now what it was; "" where it is.
  std::string difference() const;

 private:
  struct Block {
    std::byte* address;
    std::vector<std::byte> bytes;
  };
  std::vector<Block> blocks_;
};

// What is recorded instead of done, while a graph is; null otherwise.
using Recorded = std::vector<std::function<void()>>;
Recorded* recording();

}  // namespace mora::simt::emulator
