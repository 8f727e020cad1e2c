// A library of NVIDIA's that is opened when it is first needed, so that a program starts without it.
#pragma once

#include <dlfcn.h>

#include <string>

#include "engine/error.h"

namespace mora::kernels::cuda {

class LoadedLibrary {  // never unloaded
 public:
  // Looks where the system does, then in /usr/local/cuda. Throws DeviceError that names the file and says what to do;
  // `package` is what has it.
  LoadedLibrary(std::string file, std::string_view package) : file_(std::move(file)) {
    std::string reason;
    for (const std::string& path : {file_, "/usr/local/cuda/lib64/" + file_}) {
      handle_ = ::dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
      if (handle_) return;
      const char* error = ::dlerror();
      if (reason.empty()) reason = error ? error : path;
    }
    fail<DeviceError>("cuda: {}: install {}, or name its folder in LD_LIBRARY_PATH", reason, package);
  }

  // Throws DeviceError where it has no such function.
  template <class F>
  F function(const char* name) const {
    void* const found = ::dlsym(handle_, name);
    require<DeviceError>(found != nullptr, "cuda: {} has no {}", file_, name);
    return reinterpret_cast<F>(found);
  }

 private:
  std::string file_;
  void* handle_ = nullptr;
};

}  // namespace mora::kernels::cuda
