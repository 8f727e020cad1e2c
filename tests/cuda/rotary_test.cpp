#include "cuda/twin.h"
#include "kernels/attention.h"

namespace mora::test {
namespace {

constexpr int64_t positions = 40;

struct Problem {
  int64_t rows, heads, dim;
  DType dtype;

  // x, positions, cos, sin, y
  Tensors tensors() const {
    const DType table = dtype == DType::f64 ? DType::f64 : DType::f32;
    std::vector<int32_t> position;
    for (int64_t n = 0; n < rows; ++n) position.push_back(int32_t(n * 7 % positions));
    return {tensor_of(normal_values(rows * 3 * heads * dim, 1), {rows, 3 * heads * dim}, dtype),
            Tensor::from(position, {rows}),
            tensor_of(normal_values(positions * dim / 2, 2), {positions, dim / 2}, table),
            tensor_of(normal_values(positions * dim / 2, 3), {positions, dim / 2}, table),
            unwritten({rows, heads, dim}, dtype)};
  }
  // The heads of a fused projection from element `offset` on.
  Tensor heads_of(const Tensor& fused, int64_t offset) const {
    return fused.alias({rows, heads, dim}, {3 * heads * dim, dim, 1}, offset);
  }
  void expect_twin(int64_t offset) const {
    SCOPED_TRACE(fmt::format("({}, {}, {}) of {} from {}", rows, heads, dim, name_of(dtype), offset));
    for (const bool inverse : {false, true})
      expect_twins(tensors(), 2 * tolerance(dtype),
                   [&](Tensors& t) { kernels::rotary(heads_of(t[0], offset), t[1], t[2], t[3], t[4], inverse); });
  }
};

TEST(SimtRotary, OfEachDType) {
  for (const DType dtype : floating_dtypes) {
    for (const int64_t dim : {2, 6, 8, 16, 64})
      for (const int64_t rows : {0, 1, 5, 70}) Problem{rows, 3, dim, dtype}.expect_twin(3 * dim);
    Problem{5, 3, 64, dtype}.expect_twin(1);  // whose packs begin elsewhere
  }
}

TEST(SimtRotary, APositionOutOfRangeIsNamedWhenTheDeviceIsWaitedFor) {
  for (const int32_t wrong : {-1, int32_t(positions)}) {
    const Problem problem{5, 2, 16, DType::f32};
    Tensors t = problem.tensors();
    t[1].mutable_data<int32_t>()[3] = wrong;
    for (Tensor& tensor : t) tensor = tensor.to(device);
    kernels::rotary(problem.heads_of(t[0], 0), t[1], t[2], t[3], t[4], false);
    try {
      (void)t[4].to(cpu);
      ADD_FAILURE() << "position " << wrong << " is not refused";
    } catch (const ShapeError& error) {
      EXPECT_EQ(std::string(error.what()),
                fmt::format("rotary: position {}, but cos and sin hold {}", wrong, positions));
    }
  }
}

TEST(SimtRotary, WrongTensorsAreRefused) {
  const Tensor x = Tensor::zeros({2, 3, 8}, DType::bf16, device), ids = Tensor::zeros({2}, DType::i32, device);
  const Tensor table = Tensor::zeros({5, 4}, DType::f32, device);
  Tensor y = Tensor::zeros({2, 3, 8}, DType::bf16, device), wide = Tensor::zeros({2, 3, 8}, DType::f32, device);
  Tensor narrow = Tensor::zeros({2, 3, 6}, DType::bf16, device);
  EXPECT_THROW(kernels::rotary(x, ids, table, table, narrow, false), ShapeError);
  EXPECT_THROW(kernels::rotary(x, ids, table, table, wide, false), DTypeError);
  EXPECT_THROW(kernels::rotary(x, Tensor::zeros({2}, DType::i32), table, table, y, false), DeviceError);
}

}  // namespace
}  // namespace mora::test
