#include "kernels/cuda/blas.h"

#include <cublasLt.h>

#include <algorithm>
#include <bit>
#include <map>
#include <memory>
#include <mutex>
#include <tuple>

#include "engine/cuda.h"
#include "engine/cuda/launch.h"
#include "kernels/cuda/libraries/loaded.h"

namespace mora::kernels::cuda {
namespace {

// cuBLASLt's own recommendation for cards since compute capability 9.0.
constexpr size_t most_workspace = 32 << 20;
// Plans are kept for this many products; lengths of batches differ from step to step.
constexpr size_t most_plans = 4096;

#define MORA_FOR_EACH_FUNCTION(F) \
  F(Create)                       \
  F(GetStatusString)              \
  F(MatmulDescCreate)             \
  F(MatmulDescSetAttribute)       \
  F(MatmulDescDestroy)            \
  F(MatrixLayoutCreate)           \
  F(MatrixLayoutDestroy)          \
  F(MatmulPreferenceCreate)       \
  F(MatmulPreferenceSetAttribute) \
  F(MatmulPreferenceDestroy)      \
  F(MatmulAlgoGetHeuristic)       \
  F(Matmul)

// The library's functions, by name.
struct Library {
#define MORA_MEMBER(name) decltype(&cublasLt##name) name = nullptr;
  MORA_FOR_EACH_FUNCTION(MORA_MEMBER)
#undef MORA_MEMBER

  Library() {
    const LoadedLibrary loaded(fmt::format("libcublasLt.so.{}", CUBLAS_VER_MAJOR),
                               fmt::format("the CUDA toolkit's cuBLAS {}", CUBLAS_VER_MAJOR));
#define MORA_FIND(name) name = loaded.function<decltype(name)>("cublasLt" #name);
    MORA_FOR_EACH_FUNCTION(MORA_FIND)
#undef MORA_FIND
  }
};

const Library& library() {
  static const Library instance;
  return instance;
}

void check(cublasStatus_t status, std::string_view what) {
  require<DeviceError>(status == CUBLAS_STATUS_SUCCESS, "cuda: {}: {}", what, library().GetStatusString(status));
}

template <class T>
struct Deleter {
  cublasStatus_t (*destroy)(T*);
  void operator()(T* object) const { destroy(object); }
};
using Description = std::unique_ptr<cublasLtMatmulDescOpaque_t, Deleter<cublasLtMatmulDescOpaque_t>>;
using Layout = std::unique_ptr<cublasLtMatrixLayoutOpaque_t, Deleter<cublasLtMatrixLayoutOpaque_t>>;
using Preference = std::unique_ptr<cublasLtMatmulPreferenceOpaque_t, Deleter<cublasLtMatmulPreferenceOpaque_t>>;

cudaDataType_t type_of(DType dtype) {
  switch (dtype) {
    case DType::f64: return CUDA_R_64F;
    case DType::bf16: return CUDA_R_16BF;
    case DType::f16: return CUDA_R_16F;
    default: return CUDA_R_32F;
  }
}

// What a plan holds for: the product, whether there is a bias, the powers of two that the addresses are multiples of,
// and the device.
struct Key {
  Gemm gemm;
  bool bias;
  uint32_t a_alignment, b_alignment, y_alignment;
  int device;

  auto tie() const {
    const Gemm& g = gemm;
    return std::tie(g.m, g.n, g.k, g.transpose_a, g.transpose_b, g.accumulate, g.input, g.output, bias, a_alignment,
                    b_alignment, y_alignment, device);
  }
  bool operator<(const Key& other) const { return tie() < other.tie(); }
};

uint32_t alignment_of(const void* pointer) {
  return 1u << std::min(8, std::countr_zero(reinterpret_cast<uintptr_t>(pointer)));
}

// A product as cuBLASLt does it; the address of a bias is set at each call. It counts by columns, so that our y = a·b
// is its yᵀ = bᵀ·aᵀ.
struct Plan {
  Description description;
  Layout a, b, y;  // ours
  cublasLtMatmulAlgo_t algorithm;
  size_t workspace = 0;
};

Layout layout(DType dtype, int64_t rows, int64_t columns) {
  cublasLtMatrixLayout_t made = nullptr;
  check(library().MatrixLayoutCreate(&made, type_of(dtype), uint64_t(columns), uint64_t(rows), columns),
        "a matrix's layout");
  return Layout(made, {library().MatrixLayoutDestroy});
}

template <class T>
void set(const Description& description, cublasLtMatmulDescAttributes_t attribute, T value) {
  check(library().MatmulDescSetAttribute(description.get(), attribute, &value, sizeof value), "a product's attribute");
}
template <class T>
void set(const Preference& preference, cublasLtMatmulPreferenceAttributes_t attribute, T value) {
  check(library().MatmulPreferenceSetAttribute(preference.get(), attribute, &value, sizeof value), "a preference");
}

Description describe(const Key& key) {
  const bool wide = key.gemm.input == DType::f64;
  cublasLtMatmulDesc_t made = nullptr;
  check(
      library().MatmulDescCreate(&made, wide ? CUBLAS_COMPUTE_64F : CUBLAS_COMPUTE_32F, wide ? CUDA_R_64F : CUDA_R_32F),
      "a product's description");
  Description description(made, {library().MatmulDescDestroy});
  set(description, CUBLASLT_MATMUL_DESC_TRANSA, key.gemm.transpose_b ? CUBLAS_OP_T : CUBLAS_OP_N);
  set(description, CUBLASLT_MATMUL_DESC_TRANSB, key.gemm.transpose_a ? CUBLAS_OP_T : CUBLAS_OP_N);
  if (key.bias) set(description, CUBLASLT_MATMUL_DESC_EPILOGUE, CUBLASLT_EPILOGUE_BIAS);
  return description;
}

// Sums of parts are made in f32, in a fixed order: no rounding to y's dtype in between.
Preference prefer(const Key& key) {
  cublasLtMatmulPreference_t made = nullptr;
  check(library().MatmulPreferenceCreate(&made), "a preference");
  Preference preference(made, {library().MatmulPreferenceDestroy});
  set(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, most_workspace);
  set(preference, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, uint32_t{CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE});
  set(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, key.b_alignment);
  set(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, key.a_alignment);
  set(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, key.y_alignment);
  set(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, key.y_alignment);
  return preference;
}

Plan make_plan(cublasLtHandle_t handle, const Key& key) {
  const Gemm& g = key.gemm;
  Plan plan{describe(key),
            g.transpose_a ? layout(g.input, g.k, g.m) : layout(g.input, g.m, g.k),
            g.transpose_b ? layout(g.input, g.n, g.k) : layout(g.input, g.k, g.n),
            layout(g.output, g.m, g.n),
            {},
            0};
  const Preference preference = prefer(key);
  cublasLtMatmulHeuristicResult_t found{};
  int count = 0;
  const cublasStatus_t status =
      library().MatmulAlgoGetHeuristic(handle, plan.description.get(), plan.b.get(), plan.a.get(), plan.y.get(),
                                       plan.y.get(), preference.get(), 1, &found, &count);
  require<DeviceError>(status == CUBLAS_STATUS_SUCCESS && count == 1,
                       "cuda: cuBLASLt has no product of {} by {} by {} of {} into {}: {}", g.m, g.k, g.n,
                       name_of(g.input), name_of(g.output), library().GetStatusString(status));
  plan.algorithm = found.algo;
  plan.workspace = found.workspaceSize;
  return plan;
}

// A handle a device, and the plans; kept until the process ends.
struct State {
  std::mutex mutex;
  std::map<int, cublasLtHandle_t> handles;
  std::map<Key, Plan> plans;

  cublasLtHandle_t handle(int device) {
    cublasLtHandle_t& handle = handles[device];
    if (!handle) check(library().Create(&handle), "cuBLASLt");
    return handle;
  }
  const Plan& plan(const Key& key) {
    const auto at = plans.find(key);
    if (at != plans.end()) return at->second;
    if (plans.size() >= most_plans) plans.clear();
    return plans.emplace(key, make_plan(handle(key.device), key)).first->second;
  }
};

State& state() {
  static auto* const instance = new State;
  return *instance;
}

}  // namespace

void gemm(const Gemm& g, const void* a, const void* b, void* y, const void* bias, Device device) {
  State& shared = state();
  std::lock_guard lock(shared.mutex);
  const Plan& plan = shared.plan({g, bias != nullptr, alignment_of(a), alignment_of(b), alignment_of(y), device.index});
  if (bias) set(plan.description, CUBLASLT_MATMUL_DESC_BIAS_POINTER, bias);
  Tensor workspace;
  if (plan.workspace > 0) workspace = Tensor::empty({int64_t(plan.workspace)}, DType::u8, device);
  const double one = 1, kept = g.accumulate ? 1 : 0;
  const float one_f = 1, kept_f = float(kept);
  const bool wide = g.input == DType::f64;
  const cublasStatus_t status = library().Matmul(
      shared.handle(device.index), plan.description.get(), wide ? static_cast<const void*>(&one) : &one_f, b,
      plan.b.get(), a, plan.a.get(), wide ? static_cast<const void*>(&kept) : &kept_f, y, plan.y.get(), y, plan.y.get(),
      &plan.algorithm, workspace.defined() ? workspace.mutable_raw() : nullptr, plan.workspace,
      cudaStream_t(mora::cuda::current_stream()));
  check(status, "matmul");
}

}  // namespace mora::kernels::cuda
