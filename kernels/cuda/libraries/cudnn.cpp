#include "kernels/cuda/libraries/cudnn.h"

#include "kernels/cuda/libraries/loaded.h"

namespace mora::kernels::cuda {
namespace {

constexpr size_t oldest = 91100;  // 9.11: packed sequences with grouped queries, without the faults of 9.10

const LoadedLibrary& library() {
  static const LoadedLibrary instance("libcudnn.so.9", "cuDNN 9");
  return instance;
}

std::string what_is_missing() {
  try {
    const size_t version = library().function<decltype(&cudnnGetVersion)>("cudnnGetVersion")();
    if (version >= oldest) return "";
    return fmt::format("libcudnn.so.9 is of version {}.{}, older than 9.11", version / 10000, version / 100 % 100);
  } catch (const DeviceError& error) {
    return error.what();
  }
}

}  // namespace

const std::string& cudnn_missing() {
  static const std::string reason = what_is_missing();
  return reason;
}

}  // namespace mora::kernels::cuda

// In place of a linked library: each finds the function of its name when it is first called.
#define MORA_PASS_ON(result, name, parameters, arguments)                                         \
  result name parameters {                                                                        \
    static const auto function = mora::kernels::cuda::library().function<decltype(&name)>(#name); \
    return function arguments;                                                                    \
  }

extern "C" {
MORA_PASS_ON(size_t, cudnnGetVersion, (), ())
MORA_PASS_ON(const char*, cudnnGetErrorString, (cudnnStatus_t status), (status))
MORA_PASS_ON(void, cudnnGetLastErrorString, (char* message, size_t size), (message, size))
MORA_PASS_ON(cudnnStatus_t, cudnnCreate, (cudnnHandle_t * handle), (handle))
MORA_PASS_ON(cudnnStatus_t, cudnnSetStream, (cudnnHandle_t handle, cudaStream_t stream), (handle, stream))
MORA_PASS_ON(cudnnStatus_t, cudnnGetStream, (cudnnHandle_t handle, cudaStream_t* stream), (handle, stream))
MORA_PASS_ON(cudnnStatus_t, cudnnBackendCreateDescriptor,
             (cudnnBackendDescriptorType_t type, cudnnBackendDescriptor_t* made), (type, made))
MORA_PASS_ON(cudnnStatus_t, cudnnBackendDestroyDescriptor, (cudnnBackendDescriptor_t descriptor), (descriptor))
MORA_PASS_ON(cudnnStatus_t, cudnnBackendFinalize, (cudnnBackendDescriptor_t descriptor), (descriptor))
MORA_PASS_ON(cudnnStatus_t, cudnnBackendSetAttribute,
             (cudnnBackendDescriptor_t descriptor, cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type,
              int64_t count, const void* elements),
             (descriptor, name, type, count, elements))
MORA_PASS_ON(cudnnStatus_t, cudnnBackendGetAttribute,
             (cudnnBackendDescriptor_t descriptor, cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type,
              int64_t room, int64_t* count, void* elements),
             (descriptor, name, type, room, count, elements))
MORA_PASS_ON(cudnnStatus_t, cudnnBackendExecute,
             (cudnnHandle_t handle, cudnnBackendDescriptor_t plan, cudnnBackendDescriptor_t pack), (handle, plan, pack))
}
