#include "cuda/twin.h"

#include "engine/cuda.h"
#include "kernels/copy.h"

namespace mora::test {
namespace {

int64_t cases = 0;

Tensors on(const Tensors& tensors, Device target) {
  Tensors result;
  for (const Tensor& t : tensors) result.push_back(t.defined() ? t.to(target) : t);
  return result;
}

Values numbers(const Tensor& t) {
  Tensor wide = Tensor::empty(t.shape(), DType::f64);
  kernels::cpu::copy(t, wide);
  return values_of(wide);
}

class MemoryIsGivenBack final : public testing::Environment {
 public:
  void TearDown() override {
    cuda::check_indices(0);  // memory for them is kept until then
    EXPECT_EQ(cuda::memory_stats(0).live_bytes, 0) << "memory of the device is never given back";
  }
};
[[maybe_unused]] const auto* const environment = testing::AddGlobalTestEnvironment(new MemoryIsGivenBack);

}  // namespace

int64_t cases_run() { return cases; }

Tensor unwritten(const Shape& shape, DType dtype) {
  Tensor t = Tensor::empty(shape, dtype);
  std::memset(t.mutable_raw(), 0xFF, t.bytes());
  return t;
}

void expect_twins(const Tensors& tensors, double tolerance, const TensorFunction& f) {
  ++cases;
  Tensors here, there = on(tensors, device);
  for (const Tensor& t : there) here.push_back(t.defined() ? t.to(cpu) : t);  // copies: f may write to them
  f(here);
  f(there);
  there = on(there, cpu);
  for (size_t i = 0; i < here.size(); ++i) {
    if (!here[i].defined()) continue;
    EXPECT_LE(difference(numbers(there[i]), numbers(here[i])), is_floating(here[i].dtype()) ? tolerance : 0)
        << "tensor " << i << " " << here[i].shape().to_string() << " " << name_of(here[i].dtype());
  }
}

}  // namespace mora::test
