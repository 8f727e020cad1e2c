// What a kernel's launch needs of the engine. Plain types: nvcc reads this.
#pragma once

#include <algorithm>
#include <string>
#include <string_view>

namespace mora::cuda {

// The stream of work that this thread launches on: a cudaStream_t.
void* current_stream();
// Throws DeviceError where `status`, a cudaError_t, is an error; `signature` is that of a template over `Kernel`.
void check_launch(int status, std::string_view signature);

// "Scale<float>" of "void launch(Dim, const Kernel&, int) [with Kernel = mora::kernels::cuda::Scale<float>]".
inline std::string kernel_name(std::string_view signature) {
  constexpr std::string_view mark = "Kernel = ";
  const size_t begin = signature.find(mark);
  if (begin == std::string_view::npos) return std::string(signature);
  signature = signature.substr(begin + mark.size());
  std::string name(signature.substr(0, std::min(signature.find("; "), signature.size() - 1)));
  for (const std::string_view home : {"mora::kernels::cuda::", "{anonymous}::", "mora::"}) {
    for (size_t at; (at = name.find(home)) != std::string::npos;) name.erase(at, home.size());
  }
  return name;
}

}  // namespace mora::cuda
