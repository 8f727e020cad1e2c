#include "engine/arena.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>

namespace mora {
namespace {

constexpr size_t page = 4096;
// Blocks whose sizes are powers of two would all begin at one offset of a page, and a processor that compares the low
// twelve bits of addresses takes a load from one for a load of what was just stored to another.
constexpr size_t stagger = 192;

}  // namespace

Arena::Arena(size_t bytes) {
  for (size_ = bytes / page * page; size_ >= size_t{1} << 28; size_ = size_ / 2 / page * page) {
    void* reserved = ::mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (reserved == MAP_FAILED) continue;
    base_ = static_cast<std::byte*>(reserved);
    ::madvise(base_, size_, MADV_HUGEPAGE);  // fewer faults and fewer TLB misses, where the system has them
    free_.reserve(1024);
    free_.push_back({0, size_});
    return;
  }
  size_ = 0;
}

Arena::~Arena() {
  if (base_) ::munmap(base_, size_);
}

size_t Arena::rounded(size_t bytes) { return (bytes + page - 1) / page * page + stagger; }

bool Arena::contains(const void* block) const {
  const auto* p = static_cast<const std::byte*>(block);
  return base_ && p >= base_ && p < base_ + size_;
}

void* Arena::allocate(size_t bytes) {
  if (bytes > size_) return nullptr;
  const size_t size = rounded(bytes);
  auto best = free_.end();
  for (auto range = free_.begin(); range != free_.end(); ++range)
    if (range->size() >= size && (best == free_.end() || range->size() < best->size())) best = range;
  if (best == free_.end()) return nullptr;
  const size_t begin = best->begin;
  // Free ranges lie between blocks, so there is at most one more than blocks: with room for those, a deallocation,
  // which must not fail, adds its range without a reallocation.
  if (free_.capacity() < blocks_ + 2) {
    const auto at = best - free_.begin();
    free_.reserve(2 * free_.capacity());  // may throw, before anything has changed
    best = free_.begin() + at;
  }
  best->begin += size;
  if (best->size() == 0) free_.erase(best);
  ++blocks_;
  live_ += size;
  high_water_ = std::max(high_water_, begin + size);
  return base_ + begin;
}

void Arena::deallocate(void* block, size_t bytes) noexcept {
  const size_t begin = size_t(static_cast<std::byte*>(block) - base_), end = begin + rounded(bytes);
  live_ -= end - begin;
  --blocks_;
  const auto next =
      std::lower_bound(free_.begin(), free_.end(), begin, [](const Range& r, size_t b) { return r.begin < b; });
  const bool joins_next = next != free_.end() && next->begin == end;
  const bool joins_last = next != free_.begin() && std::prev(next)->end == begin;
  if (joins_last) {
    std::prev(next)->end = joins_next ? next->end : end;
    if (joins_next) free_.erase(next);
  } else if (joins_next) {
    next->begin = begin;
  } else {
    free_.insert(next, {begin, end});
  }
}

void Arena::release() {
  const size_t top = !free_.empty() && free_.back().end == size_ ? free_.back().begin : size_;
  for (const Range& range : free_) {
    const size_t begin = (range.begin + page - 1) / page * page,
                 end = std::min(range.end, high_water_ + page) / page * page;
    if (begin < end) ::madvise(base_ + begin, end - begin, MADV_DONTNEED);
  }
  high_water_ = top;
}

}  // namespace mora
