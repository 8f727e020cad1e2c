#include "kernels/norm.h"

#include "cuda/twin.h"

namespace mora::test {
namespace {

constexpr double eps = 1e-5;

DType arithmetic_of(DType dtype) { return dtype == DType::f64 ? DType::f64 : DType::f32; }

enum Place { x, w, b, gy, y, mean, rstd, gx, gw, gb };

// Rows of `length` with weights, and what the kernels of both norms fill.
Tensors problem(int64_t rows, int64_t length, DType dtype, DType weights) {
  const DType statistics = arithmetic_of(dtype);
  return {tensor_of(normal_values(rows * length, 1, 2), {rows, length}, dtype),
          tensor_of(normal_values(length, 2), {length}, weights),
          tensor_of(normal_values(length, 3), {length}, weights),
          tensor_of(normal_values(rows * length, 4), {rows, length}, dtype),
          unwritten({rows, length}, dtype),
          unwritten({rows}, statistics),
          unwritten({rows}, statistics),
          unwritten({rows, length}, dtype),
          unwritten({length}, weights),
          unwritten({length}, weights)};
}

void layer_norm(Tensors& t) {
  kernels::layer_norm(t[x], t[w], t[b], t[y], t[mean], t[rstd], eps);
  kernels::layer_norm_backward(t[x], t[w], t[mean], t[rstd], t[gy], t[gx], t[gw], t[gb]);
}
void rms_norm(Tensors& t) {
  kernels::rms_norm(t[x], t[w], t[y], t[rstd], eps);
  kernels::rms_norm_backward(t[x], t[w], t[rstd], t[gy], t[gx], t[gw]);
}
Tensors without(Tensors tensors, std::initializer_list<Place> places) {
  for (const Place place : places) tensors[place] = Tensor();
  return tensors;
}

// Rows for a warp and for a block, whole packs and not; one part of the rows and several.
void expect_norms_are_twins(DType dtype, DType weights) {
  for (const auto& [rows, length] : std::initializer_list<std::pair<int64_t, int64_t>>{
           {0, 8}, {1, 1}, {3, 2}, {9, 7}, {70, 64}, {1, 576}, {30, 100}, {5, 1024}, {2, 1025}, {7, 1536}, {4, 3001}}) {
    SCOPED_TRACE(fmt::format("{} rows of {}, {} with weights of {}", rows, length, name_of(dtype), name_of(weights)));
    const double close = (length <= 2 ? 400 : 8) * tolerance(dtype);  // two equal numbers have no variance to divide by
    expect_twins(problem(rows, length, dtype, weights), close, layer_norm);
    expect_twins(without(problem(rows, length, dtype, weights), {b, mean, gb}), close, rms_norm);
  }
}

TEST(SimtNorm, OfEachDType) {
  for (const DType dtype : floating_dtypes) {
    expect_norms_are_twins(dtype, dtype);
    if (dtype != arithmetic_of(dtype)) expect_norms_are_twins(dtype, DType::f32);
  }
}

// Neither of the rows' dtype nor of the arithmetic's.
TEST(SimtNorm, WeightsOfAThirdDType) {
  expect_twins(problem(5, 33, DType::f16, DType::bf16), 8 * tolerance(DType::bf16), layer_norm);
  expect_twins(problem(5, 33, DType::f64, DType::f16), 8 * tolerance(DType::f16), layer_norm);
}

TEST(SimtNorm, ManyRowsAreSummedInParts) { expect_twins(problem(1500, 40, DType::f32, DType::f32), 4e-5, layer_norm); }

TEST(SimtNorm, GradientsOfWeightsInASmallerDType) {
  for (const DType weights : floating_dtypes) {
    Tensors tensors = problem(20, 33, DType::f64, DType::f64);
    for (const Place place : {gw, gb}) tensors[place] = unwritten({33}, weights);
    expect_twins(tensors, 8 * tolerance(weights), layer_norm);
  }
}

TEST(SimtNorm, UndefinedGradientsAreSkipped) {
  for (const auto& places : {std::initializer_list<Place>{gx}, {gw}, {gb}, {gx, gw}, {gw, gb}})
    expect_twins(without(problem(20, 33, DType::bf16, DType::bf16), places), 8 * tolerance(DType::bf16), layer_norm);
}

// Views from the middle of tensors.
TEST(SimtNorm, UnalignedRows) {
  for (const DType dtype : floating_dtypes) {
    expect_twins(problem(6, 64, dtype, dtype), 8 * tolerance(dtype), [](Tensors& t) {
      Tensors middle = t;
      for (const Place place : {x, gy, y, gx}) middle[place] = t[place].alias({5, 64}, {64, 1}, 3);
      for (const Place place : {mean, rstd}) middle[place] = t[place].alias({5}, {1}, 1);
      layer_norm(middle);
    });
  }
}

TEST(SimtNorm, NanStaysInItsRow) {
  Tensors tensors = problem(3, 20, DType::f32, DType::f32);
  tensors[x].mutable_data<float>()[25] = NAN;
  expect_twins(tensors, 8 * tolerance(DType::f32), layer_norm);
}

TEST(SimtNorm, WrongTensorsAreRefused) {
  const auto run = [](Place place, const Tensor& wrong) {
    Tensors tensors;
    for (const Tensor& t : problem(3, 20, DType::bf16, DType::bf16)) tensors.push_back(t.to(device));
    tensors[place] = wrong;
    layer_norm(tensors);
  };
  EXPECT_THROW(run(w, Tensor::zeros({19}, DType::bf16, device)), ShapeError);
  EXPECT_THROW(run(y, Tensor::zeros({3, 20}, DType::f32, device)), DTypeError);
  EXPECT_THROW(run(w, Tensor::zeros({20}, DType::f64, device)), DTypeError);
  EXPECT_THROW(run(w, Tensor::zeros({20}, DType::bf16)), DeviceError);
}

}  // namespace
}  // namespace mora::test
