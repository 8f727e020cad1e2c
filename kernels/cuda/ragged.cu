#include "kernels/cuda/arrays.h"
#include "kernels/cuda/attention.h"

namespace mora::kernels::cuda {
namespace {

struct RaggedOffsets {
  static constexpr int threads = 128;
  Array<const int32_t> offsets;
  Array<int64_t> starts;
  Array<int32_t> lengths;
  int64_t token_strides[RaggedView::tensors];

  SIMT_DEVICE void operator()() const {
    const int64_t sequences = offsets.size - 1, width = lengths.size + 1;
    for (int64_t i = simt::global_index(); i < starts.size; i += simt::global_size()) {
      const int64_t b = i % width;
      starts[i] = offsets[b < sequences ? b : sequences] * token_strides[i / width];
      if (i < lengths.size) lengths[i] = b < sequences ? offsets[b + 1] - offsets[b] : 0;
    }
  }
};

}  // namespace

void launch_ragged(const RaggedView& view) {
  RaggedOffsets kernel{
      elements<const int32_t>(view.offsets), elements<int64_t>(view.starts), elements<int32_t>(view.lengths), {}};
  std::copy_n(view.token_strides, RaggedView::tensors, kernel.token_strides);
  simt::launch(simt::blocks_for(view.starts.size, RaggedOffsets::threads), kernel);
}

}  // namespace mora::kernels::cuda
