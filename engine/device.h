// Where a tensor's bytes are.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace mora {

enum class DeviceKind : uint8_t { cpu, cuda };

struct Device {
  DeviceKind kind = DeviceKind::cpu;
  uint8_t index = 0;
  bool operator==(const Device&) const = default;
};

inline constexpr Device cpu{};

std::string to_string(Device device);
// "cpu", "cuda" or "cuda:1". Throws DeviceError for anything else.
Device parse_device(std::string_view text);

}  // namespace mora
