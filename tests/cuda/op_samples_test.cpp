// Every sample of every op with its tensors on the emulated device: outputs and gradients as the processor's.
#include <algorithm>
#include <set>

#include "autograd/gradcheck.h"
#include "cuda/twin.h"
#include "kernels/copy.h"
#include "op_samples/evaluate.h"

namespace mora::test {
namespace {

struct Case {
  std::string name;
  size_t op, sample;
};
void PrintTo(const Case& c, std::ostream* out) { *out << c.name; }

std::vector<Case> cases() {
  std::vector<Case> list;
  for (size_t op = 0; op < all_samples().size(); ++op) {
    const OpSamples& of_op = all_samples()[op];
    for (size_t i = 0; i < of_op.samples.size(); ++i)
      if (of_op.samples[i].error.empty()) list.push_back({std::string(of_op.op) + "_" + of_op.samples[i].name, op, i});
  }
  return list;
}

class OpOnDevice : public testing::TestWithParam<Case> {
 protected:
  static void SetUpTestSuite() {
    const OnDevice on(device);
    there_ = make_samples();
  }
  static void TearDownTestSuite() { there_.clear(); }
  const Sample& here() const { return of(all_samples()); }
  const Sample& there() const { return of(there_); }

 private:
  static const Sample& of(const std::vector<OpSamples>& all) { return all[GetParam().op].samples[GetParam().sample]; }
  static inline std::vector<OpSamples> there_;
};
INSTANTIATE_TEST_SUITE_P(Ops, OpOnDevice, testing::ValuesIn(cases()),
                         [](const testing::TestParamInfo<Case>& c) { return c.param.name; });

TEST_P(OpOnDevice, IsAsOnTheProcessor) {
  const Sample& sample = there();
  const Result expected = evaluate(here().run, leaves(here().draw(DType::f64)));
  for (const DType dtype : {DType::f32, DType::bf16, DType::f16}) {
    SCOPED_TRACE(name_of(dtype));
    const OnDevice on(device);
    const Result result = evaluate(sample.run, leaves(sample.draw(dtype)));
    for (const Tensor& t : result.outputs) EXPECT_EQ(t.device(), device);
    auto tolerance = [&](int roundings) { return (size_of(dtype) == 2 ? roundings : 1) * test::tolerance(dtype); };
    expect_near(result.outputs, expected.outputs, tolerance(sample.output_roundings), "output");
    expect_near(result.gradients, expected.gradients, tolerance(sample.gradient_roundings), "gradient");
  }
}

}  // namespace
}  // namespace mora::test
