#include "engine/device.h"

#include <charconv>

#include "engine/cuda.h"
#include "engine/error.h"

namespace mora {

std::string to_string(Device device) {
  return device.kind == DeviceKind::cpu ? "cpu" : fmt::format("cuda:{}", device.index);
}

Device parse_device(std::string_view text) {
  if (text == "cpu") return cpu;
  if (text == "cuda") return {DeviceKind::cuda, 0};
  if (text.starts_with("cuda:")) {
    const std::string_view digits = text.substr(5);
    uint8_t index = 0;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), index);
    if (error == std::errc{} && end == digits.data() + digits.size() && !digits.empty())
      return {DeviceKind::cuda, index};
  }
  fail<DeviceError>("device '{}': expected cpu, cuda or cuda:N", text);
}

}  // namespace mora

namespace mora::cuda {

std::string unavailable(int device) { return missing ? missing(device) : "this build has no CUDA"; }

Device usable_device(std::string_view text, std::string_view option) {
  const Device device = parse_device(text);
  const std::string reason = device == cpu ? "" : unavailable(device.index);
  require<DeviceError>(reason.empty(), "{0} {1}: {2}; use {0} cpu", option, text, reason);
  return device;
}

}  // namespace mora::cuda
