// Memory that runs out at the n-th allocation of an update, of `operator new` or of the engine's allocator and pool:
// std::bad_alloc or a whole result, nothing leaked, and the next update computes as if nothing had been. What a command
// does then: tests/cli/out_of_memory_test.cpp.
#include <atomic>
#include <cstdlib>
#include <new>

#include "autograd/grad.h"
#include "autograd/ops/elementary.h"
#include "autograd/ops/reduce.h"
#include "engine/allocator.h"
#include "faults/small_run.h"
#include "models/packed.h"

namespace {

constexpr int64_t kNone = INT64_MAX;
std::atomic<int64_t> allocations_left{kNone};  // at 0 the next one fails, below it those after it do
std::atomic<bool> all_after{false};

bool out_of_memory() {
  const int64_t left = allocations_left.fetch_sub(1);
  return left == 0 || (left < 0 && all_after);
}

void* allocate_or_throw(size_t bytes, size_t alignment) {
  void* pointer =
      out_of_memory() ? nullptr : std::aligned_alloc(alignment, (bytes + alignment) / alignment * alignment);
  if (!pointer) throw std::bad_alloc();
  return pointer;
}

}  // namespace

void* operator new(size_t bytes) { return allocate_or_throw(bytes, __STDCPP_DEFAULT_NEW_ALIGNMENT__); }
void* operator new(size_t bytes, std::align_val_t alignment) { return allocate_or_throw(bytes, size_t(alignment)); }
// Not inline: g++ would see what new gave go to free, and refuse it.
[[gnu::noinline]] void operator delete(void* pointer) noexcept { std::free(pointer); }
[[gnu::noinline]] void operator delete(void* pointer, size_t) noexcept { std::free(pointer); }
void operator delete(void* pointer, std::align_val_t) noexcept { std::free(pointer); }
void operator delete(void* pointer, size_t, std::align_val_t) noexcept { std::free(pointer); }

// mora::allocate and mora::pool_allocate, as the linker wraps them (tests/CMakeLists.txt).
extern "C" {
void* allocate_unwrapped(size_t bytes) __asm__("__real__ZN4mora8allocateEm");
void* allocate_wrapped(size_t bytes) __asm__("__wrap__ZN4mora8allocateEm");
void* pool_allocate_unwrapped(size_t bytes) __asm__("__real__ZN4mora13pool_allocateEm");
void* pool_allocate_wrapped(size_t bytes) __asm__("__wrap__ZN4mora13pool_allocateEm");

void* allocate_wrapped(size_t bytes) {
  if (out_of_memory()) throw std::bad_alloc();
  return allocate_unwrapped(bytes);
}
void* pool_allocate_wrapped(size_t bytes) {
  if (out_of_memory()) throw std::bad_alloc();
  return pool_allocate_unwrapped(bytes);
}
}

namespace mora {
namespace {

struct AllocationFaults : ::testing::TestWithParam<bool> {
  MoRAModel model = test::small_model();
  std::vector<Parameter> parameters;
  std::vector<std::vector<float>> before;  // their values

  void SetUp() override {
    model.visit_parameters([&](const std::string& name, Tensor& value) {
      parameters.push_back({.name = name, .value = value});
      before.emplace_back(value.values<float>().begin(), value.values<float>().end());
    });
  }
  void TearDown() override { all_after = false; }

  Tensors gradients(std::span<const Tensor> leaves) const {
    Context context;
    context.training = true;
    return grad(mean(square(model.base().hidden_states(packed({{5, 6, 7, 8}, {9, 10}}), context))), leaves);
  }

  // An update from the same values each time: forward, backward, SAM's second of both, optimizer. Gives the new ones.
  std::vector<std::vector<float>> update() {
    Tensors leaves;
    for (size_t i = 0; i < parameters.size(); ++i) {
      std::copy(before[i].begin(), before[i].end(), parameters[i].value.mutable_data<float>());
      leaves.push_back(parameters[i].value);
    }
    MoRAOptimizer optimizer(parameters, {.sam = SamOptions{}, .clip = 1});
    Tensors first = gradients(leaves);
    optimizer.step(first, 0.1, [&](Tensors& again) {
      again = gradients(leaves);
      return true;
    });
    std::vector<std::vector<float>> after;
    for (const Tensor& leaf : leaves) after.emplace_back(leaf.values<float>().begin(), leaf.values<float>().end());
    return after;
  }
};

TEST_P(AllocationFaults, EachOfAnUpdateEndsInBadAllocAndLeavesNothingBehind) {
  update();  // what is made once and kept
  const auto expected = update();
  allocations_left = kNone;
  update();
  const int64_t all = kNone - allocations_left;
  const int64_t live = memory_stats().live_blocks;
  all_after = GetParam();
  int64_t failures = 0;
  for (int64_t n = 0; n < all; ++n) {
    allocations_left = n;
    bool failed = false;
    try {
      const auto found = update();
      allocations_left = kNone;
      EXPECT_EQ(found, expected) << "allocation " << n;
    } catch (const std::bad_alloc&) {
      failed = true;
    }
    allocations_left = kNone;
    failures += failed;
    ASSERT_EQ(memory_stats().live_blocks, live) << "allocation " << n;
  }
  EXPECT_GT(failures, all / 2);
  EXPECT_EQ(update(), expected);
}

INSTANTIATE_TEST_SUITE_P(OnceAndFromThenOn, AllocationFaults, ::testing::Bool());

}  // namespace
}  // namespace mora
