// XXH3-64, the checksum of everything MoRA writes and reads back (checkpoint manifests). It finds damage, not forgery.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>

namespace mora {

// The checksum of bytes that arrive in pieces.
class Checksum {
 public:
  Checksum();
  ~Checksum();
  Checksum(const Checksum&) = delete;
  Checksum& operator=(const Checksum&) = delete;

  void update(const void* data, size_t bytes);
  uint64_t value() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

uint64_t checksum(std::string_view bytes);

// Reads the file in pieces; IoError where it cannot be read.
uint64_t checksum_file(const std::filesystem::path& file);

// 16 hexadecimal digits, the form manifests hold.
std::string checksum_text(uint64_t value);

}  // namespace mora
