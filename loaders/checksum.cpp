#include "loaders/checksum.h"

#include <unistd.h>
#include <xxhash.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <vector>

#include "engine/error.h"
#include "loaders/regular_file.h"

namespace mora {

struct Checksum::State {
  State() : xxh(XXH3_createState()) { XXH3_64bits_reset(xxh); }
  ~State() { XXH3_freeState(xxh); }
  XXH3_state_t* xxh;  // 64-byte aligned, which its own allocator sees to
};

Checksum::Checksum() : state_(std::make_unique<State>()) {}
Checksum::~Checksum() = default;
void Checksum::update(const void* data, size_t bytes) { XXH3_64bits_update(state_->xxh, data, bytes); }
uint64_t Checksum::value() const { return XXH3_64bits_digest(state_->xxh); }

uint64_t checksum(std::string_view bytes) { return XXH3_64bits(bytes.data(), bytes.size()); }

uint64_t checksum_file(const std::filesystem::path& file) {
  const RegularFile opened = open_regular_file(file);
  std::vector<char> piece(std::clamp<size_t>(opened.bytes, 1, size_t{1} << 20));
  Checksum sum;
  while (true) {
    const ssize_t got = ::read(opened.fd.get(), piece.data(), piece.size());
    if (got == 0) return sum.value();
    if (got < 0 && errno == EINTR) continue;
    require<IoError>(got > 0, "{}: cannot read: {}", file.string(), std::strerror(errno));
    sum.update(piece.data(), static_cast<size_t>(got));
  }
}

std::string checksum_text(uint64_t value) { return fmt::format("{:016x}", value); }

}  // namespace mora
