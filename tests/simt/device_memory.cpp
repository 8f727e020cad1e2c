#include "simt/device_memory.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <map>

#include "engine/cuda.h"
#include "engine/error.h"
#include "kernels/cuda/simt.h"

namespace mora {
namespace {

struct Block {
  std::byte* pages;
  size_t page_bytes;  // without the closed page behind
  size_t bytes;       // that were asked for
};

struct Memory {
  std::map<std::byte*, Block> blocks;  // by the address that was given out
  int open = 0;
  MemoryStats stats;
  std::unique_ptr<simt::emulator::Recorded> recording;
};

Memory& memory() {
  static auto* instance = new Memory;  // outlives every static tensor
  return *instance;
}

size_t page_size() { return size_t(::sysconf(_SC_PAGESIZE)); }
size_t rounded(size_t bytes, size_t unit) { return (bytes + unit - 1) / unit * unit; }

// The processor's key to all device memory, which a thread turns without asking the system; below 0 where it has none
// (pkeys(7)). Opening every block by mprotect takes a quarter of the time of a run of training.
int key() {
  static const int allocated = ::pkey_alloc(0, PKEY_DISABLE_ACCESS);
  return allocated;
}

void protect(const Block& block, int protection) {
  invariant(::mprotect(block.pages, block.page_bytes, protection) == 0, "mprotect failed");
}

void set_open(bool open) {
  if (key() >= 0) {
    invariant(::pkey_set(key(), open ? 0 : PKEY_DISABLE_ACCESS) == 0, "pkey_set failed");
    return;
  }
  for (const auto& [address, block] : memory().blocks) protect(block, open ? PROT_READ | PROT_WRITE : PROT_NONE);
}

}  // namespace

namespace simt::emulator {

OpenMemory::OpenMemory() {
  if (memory().open++ == 0) set_open(true);
}

OpenMemory::~OpenMemory() {
  if (--memory().open == 0) set_open(false);
}

MemoryImage MemoryImage::take() {
  MemoryImage image;
  for (const auto& [address, block] : memory().blocks)
    image.blocks_.push_back({address, std::vector<std::byte>(address, address + block.bytes)});
  return image;
}

void MemoryImage::restore() const {
  for (const Block& block : blocks_) std::memcpy(block.address, block.bytes.data(), block.bytes.size());
}

std::string MemoryImage::difference() const {
  for (const Block& block : blocks_) {
    if (std::memcmp(block.address, block.bytes.data(), block.bytes.size()) == 0) continue;
    const auto at = std::mismatch(block.bytes.begin(), block.bytes.end(), block.address).first - block.bytes.begin();
    return fmt::format("byte {} of a block of {} bytes", at, block.bytes.size());
  }
  return "";
}

Recorded* recording() { return memory().recording.get(); }

}  // namespace simt::emulator

namespace cuda {

std::string missing(int device) { return device == 0 ? "" : "the emulator is cuda:0"; }

Card describe(int) {
  return {"emulator", 80, simt::emulator::memory_bytes, simt::emulator::memory_bytes - memory().stats.live_bytes};
}

void* allocate(size_t bytes, int device) {
  require<DeviceError>(device == 0, "no device cuda:{}: {}", device, missing(device));
  const size_t page = page_size(), used = rounded(std::max<size_t>(bytes, 1), 16), page_bytes = rounded(used, page);
  void* pages = ::mmap(nullptr, page_bytes + page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  require<DeviceError>(pages != MAP_FAILED, "the emulated device has no {} bytes", bytes);
  const Block block{static_cast<std::byte*>(pages), page_bytes, bytes};
  protect(block, PROT_READ | PROT_WRITE);
  std::memset(pages, 0xFF, page_bytes);
  if (key() >= 0)
    invariant(::pkey_mprotect(pages, page_bytes, PROT_READ | PROT_WRITE, key()) == 0, "pkey_mprotect failed");
  else if (memory().open == 0)
    protect(block, PROT_NONE);
  std::byte* address = block.pages + page_bytes - used;  // as near to the closed page as a 16-byte access allows
  memory().blocks[address] = block;
  MemoryStats& stats = memory().stats;
  stats.live_bytes += int64_t(bytes);
  stats.live_blocks += 1;
  stats.peak_bytes = std::max(stats.peak_bytes, stats.live_bytes);
  return address;
}

void deallocate(void* pointer, size_t bytes, int) noexcept {
  const auto at = memory().blocks.find(static_cast<std::byte*>(pointer));
  ::munmap(at->second.pages, at->second.page_bytes + page_size());
  memory().blocks.erase(at);
  memory().stats.live_bytes -= int64_t(bytes);
  memory().stats.live_blocks -= 1;
}

void copy(void* to, Device to_device, const void* from, Device from_device, size_t bytes) {
  require<DeviceError>(!memory().recording || to_device == from_device,
                       "a copy {} the device cannot be recorded in a graph", from_device == cpu ? "to" : "from");
  simt::emulator::submit([=] { std::memcpy(to, from, bytes); });
}

void zero(void* pointer, size_t bytes, int) {
  simt::emulator::submit([=] { std::memset(pointer, 0, bytes); });
}

void synchronize(int) {
  require<DeviceError>(!memory().recording, "waiting for the device cannot be recorded in a graph");
}

void begin_recording(int) {
  require<DeviceError>(!std::getenv("MORA_SYNC"), "MORA_SYNC=1 waits for each launch, so no graph is recorded");
  memory().recording = std::make_unique<simt::emulator::Recorded>();
}
void* end_recording(int) { return memory().recording.release(); }
void cancel_recording(int) noexcept { memory().recording.reset(); }
void replay(void* recorded, int) {
  for (const auto& work : *static_cast<simt::emulator::Recorded*>(recorded)) work();
}
void discard(void* recorded, int) noexcept { delete static_cast<simt::emulator::Recorded*>(recorded); }

MemoryStats memory_stats(int) { return memory().stats; }

}  // namespace cuda
}  // namespace mora
