#include "kernels/cuda/index_error_words.h"

#include <map>
#include <mutex>

#include "engine/cuda.h"
#include "kernels/checks.h"
#include "kernels/cuda/index_kind.h"

namespace mora::kernels::cuda {
namespace {

// The words of devices that have launched such kernels since they were last waited for.
struct Words {
  std::mutex mutex;
  std::map<int, Tensor> of_device;
};
Words& words() {
  static auto* instance = new Words;  // what is still there at the end of the program is the device's to free
  return *instance;
}

[[noreturn]] void reject(IndexKind kind, IndexErrorWord word) {
  const auto index = int32_t(uint32_t(word));
  const auto limit = int64_t(word >> 32 & 0x7FFFFFFF);
  if (kind == IndexKind::label) reject_label(index, limit);
  if (kind == IndexKind::row) fail<ShapeError>("row {} of {}: an index is out of range", index, limit);
  reject_position(index, limit);
}

}  // namespace

Tensor index_error_words(Device device) {
  Words& w = words();
  const std::lock_guard lock(w.mutex);
  Tensor& mine = w.of_device[device.index];
  if (!mine.defined()) mine = Tensor::zeros({index_kinds}, DType::i64, device);
  return mine;
}

}  // namespace mora::kernels::cuda

namespace mora::cuda {

void check_indices(int device) {
  Tensor taken;
  {
    kernels::cuda::Words& w = kernels::cuda::words();
    const std::lock_guard lock(w.mutex);
    if (const auto at = w.of_device.find(device); at != w.of_device.end()) {
      taken = std::move(at->second);
      w.of_device.erase(at);
    }
  }
  if (!taken.defined()) return;
  const Tensor host = taken.to(mora::cpu);
  if (taken.storage()->use_count() > 1) {  // graphs write there
    zero(taken.mutable_raw(), taken.bytes(), device);
    kernels::cuda::Words& w = kernels::cuda::words();
    const std::lock_guard lock(w.mutex);
    w.of_device[device] = taken;
  }
  for (int kind = 0; kind < kernels::cuda::index_kinds; ++kind)
    if (const auto word = uint64_t(host.data<int64_t>()[kind]); word != 0)
      kernels::cuda::reject(kernels::cuda::IndexKind(kind), word);
}

Ref<Storage> index_memory(int device) {
  return kernels::cuda::index_error_words({DeviceKind::cuda, uint8_t(device)}).storage();
}

}  // namespace mora::cuda
