// Scaled dot-product attention of cuDNN's graph API (its frontend's SDPA nodes) over packed sequences: each tensor is
// (sequences, heads, tokens, D) with "ragged offsets", where each sequence begins, and the sequences' lengths as
// padding. As the frontend needs few shapes, and graphs that are recorded fixed ones, the numbers of sequences and of
// tokens of the longest are the next powers of two of all there are; what is more costs blocks that end at once.
#include "kernels/cuda/cudnn.h"

#include <cudnn_frontend.h>

#include <bit>
#include <map>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "engine/cuda.h"
#include "engine/cuda/launch.h"
#include "engine/graph.h"
#include "kernels/cuda/libraries/cudnn.h"
#include "kernels/cuda/tensor_view.h"

namespace mora::kernels::cuda {
namespace {

namespace fe = cudnn_frontend;
using Node = std::shared_ptr<fe::graph::Tensor_attributes>;

// Plans are never given up, so that recorded graphs can run their kernels; beyond so many shapes there are no more.
constexpr size_t most_plans = 256;

// The tensors, in the order of RaggedView's; a forward has the first five. Each is named to cuDNN by its number + 1.
enum { q_at, k_at, v_at, y_at, lse_at, gq_at, gk_at, gv_at, gy_at, operands };
static_assert(operands == RaggedView::tensors);
constexpr int64_t lengths_name = 100, starts_name = 200;  // starts_name + number: where sequences begin in a tensor

struct Operand {
  HeadsView view;
  int64_t heads, dim;
};
using Operands = std::array<Operand, operands>;

Operands operands_of(const AttentionView& view, const AttentionGradientView& t) {
  const int64_t H = view.heads, G = view.kv_heads, D = view.dim;
  const HeadsView lse{t.lse.data, t.lse.size, H, 1};
  return {{{view.q, H, D},
           {view.k, G, D},
           {view.v, G, D},
           {t.y, H, D},
           {lse, H, 1},
           {t.gq, H, D},
           {t.gk, G, D},
           {t.gv, G, D},
           {t.gy, H, D}}};
}

void check(fe::error_t status) {
  if (status.is_bad()) fail<DeviceError>("cuDNN: {}", status.get_message().substr(0, status.get_message().find('\n')));
}

class Plan final : public CudnnAttention {
 public:
  Plan(const AttentionView& view, const Operands& all, bool backward, cudnnHandle_t handle, Device device)
      : sequences_(int64_t(std::bit_ceil(uint32_t(view.sequences)))),
        tokens_(int64_t(std::bit_ceil(uint32_t(std::max(view.queries, 64))))),
        count_(backward ? operands : lse_at + 1),
        handle_(handle),
        device_(device) {
    graph_.set_io_data_type(view.dtype == DType::bf16 ? fe::DataType_t::BFLOAT16 : fe::DataType_t::HALF)
        .set_intermediate_data_type(fe::DataType_t::FLOAT)
        .set_compute_data_type(fe::DataType_t::FLOAT);
    backward ? describe_backward(view, all) : describe_forward(view, all);
    check(graph_.build(handle, {fe::HeurMode_t::A}));
    check(graph_.get_workspace_size(workspace_));
  }

  void run(const AttentionView& view, const AttentionGradientView& tensors) override {
    const Operands all = operands_of(view, tensors);
    Tensor starts = Tensor::empty({operands, sequences_ + 1}, DType::i64, device_);
    Tensor lengths = Tensor::empty({sequences_}, DType::i32, device_);
    Tensor workspace = Tensor::empty({workspace_}, DType::u8, device_);
    RaggedView ragged{.offsets = view.q_offsets, .starts = output(starts), .lengths = output(lengths)};
    std::unordered_map<int64_t, void*> named{{lengths_name, ragged.lengths.data}};
    for (int i = 0; i < count_; ++i) {
      ragged.token_strides[i] = all[size_t(i)].view.token_stride;
      named[i + 1] = all[size_t(i)].view.data;
      named[starts_name + i] = static_cast<int64_t*>(ragged.starts.data) + i * (sequences_ + 1);
    }
    launch_ragged(ragged);
    static std::mutex one_at_a_time;  // a handle is for one thread
    const std::lock_guard lock(one_at_a_time);
    check(graph_.execute(handle_, named, output(workspace).data));
    mora::cuda::check_launch(cudaSuccess, "cuDNN's attention");
  }

 private:
  Node vector(int64_t name, int64_t size, fe::DataType_t type) {
    return graph_.tensor(fe::graph::Tensor_attributes()
                             .set_uid(name)
                             .set_dim({size, 1, 1, 1})
                             .set_stride({1, 1, 1, 1})
                             .set_data_type(type));
  }
  // What of a tensor is the same whether it goes in or comes out.
  void place(fe::graph::Tensor_attributes& node, const Operands& all, int i) {
    const auto& [view, heads, dim] = all[size_t(i)];
    node.set_uid(i + 1)
        .set_dim({sequences_, heads, tokens_, dim})
        .set_stride({tokens_ * view.token_stride, view.head_stride, view.token_stride, 1})
        .set_ragged_offset(vector(starts_name + i, sequences_ + 1, fe::DataType_t::INT64));
    if (i == lse_at) node.set_data_type(fe::DataType_t::FLOAT);
  }
  Node input(const Operands& all, int i) {
    fe::graph::Tensor_attributes node;
    place(node, all, i);
    return graph_.tensor(node);
  }
  void output_is(const Node& node, const Operands& all, int i) {
    place(*node, all, i);
    node->set_output(true);
  }
  template <class Attributes>
  Attributes attributes(const AttentionView& view) {
    const Node lengths = vector(lengths_name, sequences_, fe::DataType_t::INT32);
    Attributes all;
    all.set_attn_scale(float(view.scale)).set_padding_mask(true).set_seq_len_q(lengths).set_seq_len_kv(lengths);
    if (view.causal) all.set_diagonal_alignment(fe::DiagonalAlignment_t::TOP_LEFT).set_diagonal_band_right_bound(0);
    return all;
  }

  void describe_forward(const AttentionView& view, const Operands& all) {
    auto options = attributes<fe::graph::SDPA_attributes>(view);
    options.set_generate_stats(true);
    const auto [y, lse] = graph_.sdpa(input(all, q_at), input(all, k_at), input(all, v_at), options);
    output_is(y, all, y_at);
    output_is(lse, all, lse_at);
  }
  void describe_backward(const AttentionView& view, const Operands& all) {
    auto options = attributes<fe::graph::SDPA_backward_attributes>(view);
    options.set_max_total_seq_len_q(tokens_).set_max_total_seq_len_kv(tokens_);
    const auto [gq, gk, gv] = graph_.sdpa_backward(input(all, q_at), input(all, k_at), input(all, v_at),
                                                   input(all, y_at), input(all, gy_at), input(all, lse_at), options);
    output_is(gq, all, gq_at);
    output_is(gk, all, gk_at);
    output_is(gv, all, gv_at);
  }

  int64_t sequences_, tokens_;
  int count_;
  int64_t workspace_ = 0;
  cudnnHandle_t handle_;
  Device device_;
  fe::graph::Graph graph_;
};

// Why cuDNN has no such attention, before it is asked; "" where it may.
std::string not_taken(const AttentionView& view, const Operands& all, int count) {
  if (view.dtype != DType::bf16 && view.dtype != DType::f16) return fmt::format("of {}", name_of(view.dtype));
  if (view.dim > 128 || view.dim % 8 != 0) return fmt::format("with heads of {}", view.dim);
  if (view.q_offsets.data != view.kv_offsets.data) return "between two sets of sequences";
  if (view.window > 0) return "with a window";
  if (view.sequences == 0 || view.queries == 0) return "of nothing";
  for (int i = 0; i < count; ++i) {
    const HeadsView& v = all[size_t(i)].view;
    const bool whole = i == lse_at || (v.token_stride % 8 == 0 && v.head_stride % 8 == 0);
    if (!whole || reinterpret_cast<uintptr_t>(v.data) % 16 != 0) return "whose heads do not begin at 16 bytes";
  }
  return "";
}

struct Made {
  std::unique_ptr<Plan> plan;
  std::string reason;  // where there is none
};

// A handle a device, and the plans; kept until the process ends.
struct State {
  std::mutex mutex;
  std::map<int, cudnnHandle_t> handles;
  std::map<std::vector<int64_t>, Made> plans;

  cudnnHandle_t handle(int device) {
    cudnnHandle_t& handle = handles[device];
    if (handle) return handle;
    const cudnnStatus_t made = cudnnCreate(&handle);
    require<DeviceError>(made == CUDNN_STATUS_SUCCESS, "cuDNN: {}", cudnnGetErrorString(made));
    const cudnnStatus_t set = cudnnSetStream(handle, cudaStream_t(mora::cuda::current_stream()));
    require<DeviceError>(set == CUDNN_STATUS_SUCCESS, "cuDNN: {}", cudnnGetErrorString(set));
    return handle;
  }
  Made make(const AttentionView& view, const Operands& all, bool backward, int device) {
    const int capability = mora::cuda::describe(device).compute_capability;
    if (capability < 90 || capability >= 120)
      return {nullptr, fmt::format("packed sequences on compute capability {}.{}", capability / 10, capability % 10)};
    try {
      const Device on{DeviceKind::cuda, uint8_t(device)};
      return {std::make_unique<Plan>(view, all, backward, handle(device), on), ""};
    } catch (const std::exception& error) {  // the frontend throws its own as well
      return {nullptr, error.what()};
    }
  }
};

State& state() {
  static auto* const instance = new State;
  return *instance;
}

// What a plan holds for.
std::vector<int64_t> key_of(const AttentionView& view, const Operands& all, int count, int device) {
  std::vector<int64_t> key{count,
                           device,
                           int64_t(view.dtype),
                           view.causal,
                           std::bit_cast<int64_t>(view.scale),
                           view.heads,
                           view.kv_heads,
                           view.dim,
                           int64_t(std::bit_ceil(uint32_t(view.sequences))),
                           int64_t(std::bit_ceil(uint32_t(view.queries)))};
  for (int i = 0; i < count; ++i) {
    key.push_back(all[size_t(i)].view.token_stride);
    key.push_back(all[size_t(i)].view.head_stride);
  }
  return key;
}

}  // namespace

CudnnAttention* cudnn_attention(const AttentionView& view, const AttentionGradientView& tensors, bool backward,
                                int device, std::string& reason) {
  const Operands all = operands_of(view, tensors);
  const int count = backward ? operands : lse_at + 1;
  reason = cudnn_missing();
  if (!reason.empty()) return nullptr;
  if (const std::string what = not_taken(view, all, count); !what.empty()) {
    reason = "cuDNN's attention is not taken for one " + what;
    return nullptr;
  }
  State& shared = state();
  const std::lock_guard lock(shared.mutex);
  const std::vector<int64_t> key = key_of(view, all, count, device);
  auto at = shared.plans.find(key);
  if (at == shared.plans.end()) {
    reason = "a shape that cuDNN has no plan for yet";
    if (Graph::recording() || shared.plans.size() >= most_plans) return nullptr;
    at = shared.plans.emplace(key, shared.make(view, all, backward, device)).first;
  }
  reason = at->second.reason;
  return at->second.plan.get();
}

}  // namespace mora::kernels::cuda
