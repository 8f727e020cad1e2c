// MORA_TEST_INSTRUCTION_SET=avx2 or sse4 holds the kernels to less than the processor has, so that one machine tests
// each body Highway compiles (tests/CMakeLists.txt runs the program once for each).
#include <gtest/gtest.h>
#include <hwy/targets.h>

#include <cstdlib>
#include <string_view>

namespace mora::test {
namespace {

class InstructionSetEnvironment final : public testing::Environment {
 public:
  void SetUp() override {
    const char* variable = std::getenv("MORA_TEST_INSTRUCTION_SET");
    const std::string_view wanted = variable ? variable : "";
    const int64_t above_avx2 = HWY_AVX2 - 1;  // better sets have lower bits
    if (wanted == "avx2") {
      hwy::DisableTargets(above_avx2);
    } else if (wanted == "sse4") {
      hwy::DisableTargets(above_avx2 | HWY_AVX2);
    } else {
      ASSERT_EQ(wanted, "") << "MORA_TEST_INSTRUCTION_SET: expected avx2 or sse4";
    }
  }
};

[[maybe_unused]] const testing::Environment* const environment =
    testing::AddGlobalTestEnvironment(new InstructionSetEnvironment);

}  // namespace
}  // namespace mora::test
