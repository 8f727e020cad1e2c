// Errors at the boundary of the library. `require` blames the caller, `invariant` blames us.
#pragma once

#include <fmt/format.h>

#include <stdexcept>
#include <string>
#include <utility>

namespace mora {

// The base of everything MoRA throws on purpose; `what()` is one line that names the op or file, the offending values
// and what was expected. The command line prints it after "error: ".
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

struct ShapeError : Error {
  using Error::Error;
};  // shapes that do not fit together
struct DTypeError : Error {
  using Error::Error;
};  // an op given a dtype it does not take
struct DeviceError : Error {
  using Error::Error;
};  // tensors on different devices, no such device
struct IoError : Error {
  using Error::Error;
};  // a file that cannot be read or written, or holds garbage
struct ConfigError : Error {
  using Error::Error;
};  // a configuration that cannot be meant
struct AutogradError : Error {
  using Error::Error;
};  // a gradient that does not exist
struct InternalError : Error {
  using Error::Error;
};  // a broken invariant: a bug in MoRA

// require<ShapeError>(a == b, "add: {} against {}", a, b): throws when the caller's condition does not hold.
template <class E, class... Args>
inline void require(bool condition, fmt::format_string<Args...> format, Args&&... args) {
  if (!condition) [[unlikely]]
    throw E(fmt::format(format, std::forward<Args>(args)...));
}

template <class E, class... Args>
[[noreturn]] inline void fail(fmt::format_string<Args...> format, Args&&... args) {
  throw E(fmt::format(format, std::forward<Args>(args)...));
}

template <class... Args>
inline void invariant(bool condition, fmt::format_string<Args...> format, Args&&... args) {
  if (!condition) [[unlikely]]
    throw InternalError("internal error: " + fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace mora
