// One table a kernel: the function of each device, indexed by the device of the first tensor argument.
#pragma once

#include <array>

#include "engine/tensor.h"

namespace mora::kernels {

template <class Signature>
struct Kernel;

template <class... Args>
struct Kernel<void(Args...)> {
  std::string_view name;
  std::array<void (*)(Args...), 2> table;  // by DeviceKind

  // One indirect call. Throws DeviceError where the device has no such kernel; one of the device's own names the kernel
  // and the tensors.
  void operator()(Args... args) const {
    const DeviceKind kind = device_of(args...);
    auto* body = table[size_t(kind)];
    require<DeviceError>(body != nullptr, "{}: no kernel for {}", name, kind == DeviceKind::cuda ? "cuda" : "cpu");
    if (kind == DeviceKind::cpu) return body(std::forward<Args>(args)...);
    try {
      body(args...);
    } catch (const DeviceError& error) {
      std::string tensors;
      (describe(args, tensors), ...);
      fail<DeviceError>("{} ({} of {})", error.what(), name, tensors);
    }
  }

 private:
  template <class T>
  static void describe(const T& argument, std::string& text) {
    if constexpr (std::is_same_v<T, Tensor>)
      if (argument.defined())
        text += fmt::format("{}{} {}", text.empty() ? "" : ", ", argument.shape(), name_of(argument.dtype()));
  }
  template <class First, class... Rest>
  static DeviceKind device_of(const First& first, const Rest&... rest) {
    if constexpr (std::is_same_v<First, Tensor>)
      return first.device().kind;
    else
      return device_of(rest...);
  }
};

// Declares `name` with the given parameters in namespace cpu (the body stands in kernels/cpu/) and in namespace cuda
// (in kernels/cuda/; weak, so null in a program that is not linked with it), and the table that calls them.
#define MORA_KERNEL(name, ...)                      \
  namespace cpu {                                   \
  void name(__VA_ARGS__);                           \
  }                                                 \
  namespace cuda {                                  \
  [[gnu::weak]] void name(__VA_ARGS__);             \
  }                                                 \
  inline constexpr Kernel<void(__VA_ARGS__)> name { \
#name, { cpu::name, cuda::name }                \
  }

}  // namespace mora::kernels
