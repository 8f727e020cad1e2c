// Each kernel that was compiled has been launched by the time all tests have run; and how many there are.
#include <fmt/format.h>

#include "cuda/twin.h"
#include "kernels/cuda/simt.h"

namespace mora::test {
namespace {

class EveryKernelHasACase final : public testing::Environment {
 public:
  void TearDown() override {
    int64_t kernels = 0, launches = 0;
    const bool all_ran = testing::GTEST_FLAG(filter) == "*";
    for (const simt::emulator::KernelRecord& kernel : simt::emulator::kernels()) {
      if (kernel.name.starts_with("test::")) continue;  // of tests of the emulator itself
      ++kernels;
      launches += kernel.launches;
      if (all_ran && kernel.launches == 0) ADD_FAILURE() << "no case runs the kernel " << kernel.name;
    }
    fmt::print("{} kernels, {} cases, {} launches in each order of threads\n", kernels, cases_run(), launches);
  }
};
[[maybe_unused]] const auto* const environment = testing::AddGlobalTestEnvironment(new EveryKernelHasACase);

}  // namespace
}  // namespace mora::test
