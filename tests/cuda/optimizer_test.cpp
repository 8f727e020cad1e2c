#include "kernels/optimizer.h"

#include <cmath>

#include "cuda/twin.h"

namespace mora::test {
namespace {

// None, one, less than a pack, about a piece, several pieces; more pieces than blocks.
constexpr int64_t sizes[] = {1, 0, 7, 8191, 8192, 8193, 20003, 64};

// `count` tensors of numbers for each size and dtype, one size after the other; squares where `positive`.
Tensors terms_of(std::initializer_list<DType> dtypes, std::initializer_list<bool> positive) {
  Tensors tensors;
  uint64_t seed = 1;
  for (const int64_t n : sizes) {
    for (const DType dtype : dtypes) {
      for (const bool squares : positive) {
        Values values = normal_values(n, seed++);
        if (squares)
          for (double& v : values) v = v * v;
        tensors.push_back(tensor_of(values, {n}, dtype));
      }
    }
  }
  return tensors;
}

// Of each tensor but its first element: no 16 bytes begin there.
Tensor shifted(const Tensor& t) { return t.numel() == 0 ? t : t.alias({t.numel() - 1}, {1}, 1); }

constexpr auto parameters = {DType::f32, DType::f64};
constexpr double close = 4e-6;

void sgd(Tensors& t, const kernels::SgdRule& rule, bool buffers, bool first) {
  std::vector<kernels::SgdTerm> terms;
  for (size_t i = 0; i < t.size(); i += 3)
    terms.push_back({t[i], t[i + 1], buffers ? t[i + 2] : Tensor(), 0.1 + 0.01 * double(i), 0.02, first, 1.5});
  kernels::sgd_update(terms, rule);
}

TEST(SimtOptimizer, Sgd) {
  for (const bool nesterov : {false, true})
    for (const bool first : {false, true})
      expect_twins(terms_of(parameters, {false, false, false}), close, [&](Tensors& t) {
        sgd(t, {0.9, nesterov ? 0 : 0.1, nesterov}, true, first);
      });
  expect_twins(terms_of(parameters, {false, false, false}), close, [&](Tensors& t) { sgd(t, {}, false, false); });
}

void adamw(Tensors& t, bool amsgrad) {
  std::vector<kernels::AdamWTerm> terms;
  for (size_t i = 0; i < t.size(); i += 5)
    terms.push_back({t[i], t[i + 1], t[i + 2], t[i + 3], amsgrad ? t[i + 4] : Tensor(), 0.01, 0.1, int64_t(1 + i)});
  kernels::adamw_update(terms, {});
}

TEST(SimtOptimizer, AdamW) {
  for (const bool amsgrad : {false, true})
    expect_twins(terms_of(parameters, {false, false, false, true, true}), close,
                 [&](Tensors& t) { adamw(t, amsgrad); });
}

TEST(SimtOptimizer, Lamb) {
  for (const double norm_floor : {0., 50.}) {
    expect_twins(terms_of(parameters, {false, false, false, true}), 4 * close, [&](Tensors& t) {
      std::vector<kernels::LambTerm> terms;
      for (size_t i = 0; i < t.size(); i += 4)
        terms.push_back({t[i], t[i + 1], t[i + 2], t[i + 3], 0.01, 0.1, int64_t(2 + i), i % 3 != 0});
      kernels::lamb_update(terms, {.norm_floor = norm_floor});
    });
  }
}

TEST(SimtOptimizer, ALambOfNothingButZerosStands) {
  expect_twins({Tensor::zeros({40}), Tensor::zeros({40}), Tensor::zeros({40}), Tensor::zeros({40})}, 0, [](Tensors& t) {
    std::vector<kernels::LambTerm> terms = {{t[0], t[1], t[2], t[3], 0.01, 0.1}};
    kernels::lamb_update(terms, {});
  });
}

TEST(SimtOptimizer, NormsAndProducts) {
  const auto every = {DType::f64, DType::bf16, DType::f32, DType::f16};
  expect_twins(terms_of(every, {false}), 1e-12, [](Tensors& t) {
    const std::vector<double> norms = kernels::norms(t);
    const double norm = kernels::global_norm(t);
    t.push_back(Tensor::from(norms, {int64_t(norms.size())}));
    t.push_back(Tensor::from(std::vector<double>{norm}, {1}));
  });
  expect_twins(terms_of(every, {false, false}), 1e-12, [](Tensors& t) {
    Tensors xs, ys;
    for (size_t i = 0; i < t.size(); i += 2) {
      xs.push_back(t[i]);
      ys.push_back(t[i + 1]);
    }
    t.push_back(Tensor::from(std::vector<double>{kernels::inner_product(xs, ys)}, {1}));
  });
}

TEST(SimtOptimizer, Perturbation) {
  expect_twins(terms_of(parameters, {false, false}), close, [](Tensors& t) {
    std::vector<kernels::PerturbationTerm> terms;
    for (size_t i = 0; i < t.size(); i += 2) terms.push_back({t[i], t[i + 1], i % 3 == 0});
    const double norm = kernels::perturbation_norm(terms, 0.01);
    kernels::perturb(terms, 0.01, -0.3);
    t.push_back(Tensor::from(std::vector<double>{norm}, {1}));
  });
}

TEST(SimtOptimizer, ScaleAll) {
  expect_twins(terms_of({DType::f16, DType::f32, DType::f64, DType::bf16}, {false}), 0,
               [](Tensors& t) { kernels::scale_all(t, 0.37); });
}

// A gate of NaN, and one that is open.
TEST(SimtOptimizer, AClosedGateChangesNothing) {
  for (const double value : {double(NAN), 0.5}) {
    const auto gate = [&](const Tensors& t) {
      return Tensor::from(std::vector<double>{value}, {1}).to(t.front().device());
    };
    const Tensors tensors = terms_of(parameters, {false, false, false, true});
    expect_twins(tensors, close, [&](Tensors& t) {
      std::vector<kernels::SgdTerm> terms;
      for (size_t i = 0; i < t.size(); i += 4) terms.push_back({t[i], t[i + 1], t[i + 2], 0.1});
      kernels::sgd_update(terms, {0.9}, gate(t));
    });
    expect_twins(tensors, close, [&](Tensors& t) {
      std::vector<kernels::AdamWTerm> terms;
      for (size_t i = 0; i < t.size(); i += 4) terms.push_back({t[i], t[i + 1], t[i + 2], t[i + 3], {}, 0.01, 0.1, 3});
      kernels::adamw_update(terms, {}, gate(t));
    });
    expect_twins(tensors, 4 * close, [&](Tensors& t) {
      std::vector<kernels::LambTerm> terms;
      for (size_t i = 0; i < t.size(); i += 4) terms.push_back({t[i], t[i + 1], t[i + 2], t[i + 3], 0.01, 0.1, 3});
      kernels::lamb_update(terms, {}, gate(t));
    });
  }
}

TEST(SimtOptimizer, Clipping) {
  const auto clip = [](double most, double loss, DType dtype) {
    expect_twins(terms_of({DType::f32, DType::f64, DType::bf16}, {false}), close, [&](Tensors& t) {
      const Tensor of_loss = tensor_of({loss}, {1}, dtype).to(t.front().device());
      const kernels::Clipped clipped = kernels::clip(t, most, of_loss);
      const double gate = clipped.gate.item();
      EXPECT_EQ(std::isnan(gate), !std::isfinite(loss));
      t.push_back(Tensor::from(std::vector<double>{clipped.norm.item(), std::isnan(gate) ? -1 : gate}, {2}));
    });
  };
  for (const double most : {0.5, 1e9, double(INFINITY)}) clip(most, 1, DType::f32);
  for (const double loss : {double(NAN), double(INFINITY)}) clip(0.5, loss, DType::f64);
  for (const DType dtype : {DType::bf16, DType::f16}) clip(0.5, 2, dtype);
  for (const double wrong : {double(NAN), double(INFINITY)}) {
    Tensors gradients{tensor_of({1, wrong}, {2}, DType::f32).to(device), tensor_of({3}, {1}, DType::f32).to(device)};
    EXPECT_TRUE(std::isnan(kernels::clip(gradients, 1).gate.item()));
    EXPECT_EQ(gradients[1].item(), 3) << "a gradient of an update that is not made";
  }
}

TEST(SimtOptimizer, AddAllAndCopyAll) {
  expect_twins(terms_of({DType::f16, DType::f32, DType::f64, DType::bf16}, {false, false}), 0, [](Tensors& t) {
    Tensors xs, ys;
    for (size_t i = 0; i < t.size(); i += 2) {
      xs.push_back(t[i]);
      ys.push_back(t[i + 1]);
    }
    kernels::add_all(xs, ys);
    kernels::add_all(ys, xs, -0.5);
    Tensors moved;
    for (const Tensor& x : xs) moved.push_back(Tensor::empty(x.meta()));
    kernels::copy_all(xs, moved);
    t.insert(t.end(), moved.begin(), moved.end());
  });
}

TEST(SimtOptimizer, UnalignedParameters) {
  expect_twins(terms_of(parameters, {false, false, false, true, true}), close, [](Tensors& t) {
    Tensors views;
    for (const Tensor& whole : t) views.push_back(shifted(whole));
    adamw(views, true);
  });
}

TEST(SimtOptimizer, TheVersionMovesOnceAnUpdate) {
  Tensors t;
  for (int i = 0; i < 5; ++i) t.push_back(Tensor::zeros({9}, DType::f32, device));
  const uint32_t written = t[0].version(), read = t[1].version();
  adamw(t, true);
  EXPECT_EQ(t[0].version(), written + 1);
  EXPECT_EQ(t[1].version(), read);
}

TEST(SimtOptimizer, NothingIsNoWork) {
  EXPECT_EQ(kernels::global_norm({}), 0);
  EXPECT_TRUE(kernels::norms({}).empty());
  kernels::scale_all({}, 2);
  kernels::add_all({}, {});
  kernels::copy_all({}, {});
}

TEST(SimtOptimizer, WrongTensorsAreRefused) {
  Tensors t;
  for (int i = 0; i < 10; ++i) t.push_back(Tensor::zeros({9}, DType::f32, device));
  const auto with = [&](size_t i, const Tensor& wrong) {
    Tensors changed = t;
    changed[i] = wrong;
    adamw(changed, false);
  };
  EXPECT_THROW(with(6, Tensor::zeros({8}, DType::f32, device)), ShapeError);
  EXPECT_THROW(with(5, Tensor::zeros({9}, DType::f16, device)), DTypeError);
  EXPECT_THROW(with(6, Tensor::zeros({9})), DeviceError);
  EXPECT_THROW((void)kernels::global_norm(Tensors{t[0], Tensor::zeros({9})}), DeviceError);
}

}  // namespace
}  // namespace mora::test
