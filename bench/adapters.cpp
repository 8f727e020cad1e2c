// Adapters. First the narrow products that LoRA's A, B (rank r) and MoRA's M need, as a share of the f32 peak. Then a
// linear with each adapter, forward and backward: how much of the plain linear's speed is left. N tokens.
#include "autograd/grad.h"
#include "autograd/ops/matmul.h"
#include "bench/bench.h"
#include "bench/card.h"
#include "mora/adapters/mora_layer.h"

namespace mora::bench {
namespace {

struct Product {
  const char* name;
  int64_t m, n, k;
  kernels::MatmulShape shape;
};

constexpr Product products[] = {
    {"h=x.At", 512, 8, 384, {.transpose_b = true}},
    {"y+=h.Bt", 512, 384, 8, {.transpose_b = true, .accumulate = true}},
    {"gB=gyt.h", 384, 8, 512, {.transpose_a = true}},
    {"gh=gy.B", 512, 8, 384, {}},
    {"gA=ght.x", 8, 384, 512, {.transpose_a = true}},
    {"gx+=gh.A", 512, 384, 8, {.accumulate = true}},
    {"z=s.Mt", 512, 78, 78, {.transpose_b = true}},
    {"gM=gzt.s", 78, 78, 512, {.transpose_a = true}},
};

void measure(const Product& p, Report report) {
  const Tensor a = normal(p.shape.transpose_a ? Shape{p.k, p.m} : Shape{p.m, p.k}, 1);
  const Tensor b = normal(p.shape.transpose_b ? Shape{p.n, p.k} : Shape{p.k, p.n}, 2);
  Tensor y = Tensor::zeros({p.m, p.n});
  kernels::matmul(a, b, y, p.shape);
  const float *pa = a.data<float>(), *pb = b.data<float>();
  double last = 0;
  for (int64_t k = 0; k < p.k; ++k)
    last += double(pa[p.shape.transpose_a ? k * p.m + p.m - 1 : (p.m - 1) * p.k + k]) *
            double(pb[p.shape.transpose_b ? (p.n - 1) * p.k + k : k * p.n + p.n - 1]);
  check_near(p.name, double(y.data<float>()[p.m * p.n - 1]), last, 1e-3);
  const double seconds = median_seconds([&] { kernels::matmul(a, b, y, p.shape); });
  report(row_of_products({}, fmt::format("{} {}x{}x{} f32", p.name, p.m, p.n, p.k), 2 * double(p.m * p.n * p.k),
                         seconds, DType::f32));
}

struct Site {
  int64_t n, in, out;
};
constexpr Site sites[] = {{800, 384, 384}, {800, 384, 1536}, {800, 1536, 384}, {2048, 576, 576}, {2048, 576, 1536}};

struct Kind {
  std::string name;
  AdapterSpec spec;
};

std::vector<Kind> kinds() {
  std::vector<Kind> list;
  for (int64_t rank : {4, 8, 12})  // ranks that adaptation moves between
    list.push_back({"lora", {.kind = AdapterSpec::Kind::lora, .rank = rank}});
  using Operator = kernels::OperatorKind;
  for (Operator op : {Operator::truncation, Operator::sharing, Operator::group, Operator::group_sharing,
                      Operator::sharing_group, Operator::decouple, Operator::rotation, Operator::rotation_full})
    list.push_back({fmt::format("mora {}", name_of(op)), {.op = op}});
  return list;
}

// One linear, plain or adapted, with what a training step needs of it: y, gx and the adapter's gradients.
class Step {
 public:
  Step(const Site& s, const std::shared_ptr<const kernels::FrozenWeight>& w, const AdapterSpec* spec)
      : w_(w), wanted_{leaf(normal({s.n, s.in}, 3))}, gy_(normal({s.n, s.out}, 4)) {
    if (!spec) return;
    layer_ = make_layer(*spec, w, 5, 0);
    layer_->visit_parameters([&](const std::string&, Tensor& value) { wanted_.push_back(value); });
  }
  Tensor output() { return layer_ ? layer_->forward(wanted_[0], w_, context_) : mora::linear(wanted_[0], w_); }
  double seconds() {
    return median_seconds([&] {
      const Tensor y = output();
      grad(std::span(&y, 1), wanted_, {}, std::span(&gy_, 1));
    });
  }

 private:
  std::shared_ptr<const kernels::FrozenWeight> w_;
  std::unique_ptr<MoRALayer> layer_;
  Tensors wanted_;  // x and the adapter's parameters
  Tensor gy_;
  Context context_;
};

void measure(const Site& s, Report report) {
  const auto w = std::make_shared<const kernels::FrozenWeight>(normal({s.out, s.in}, 2), Tensor());
  Step plain(s, w, nullptr);
  const double first = double(plain.output().data<float>()[0]), plain_seconds = plain.seconds();
  for (const Kind& kind : kinds()) {
    Step adapted(s, w, &kind.spec);
    check_near("the output of a fresh adapter", double(adapted.output().data<float>()[0]), first, 1e-5);
    const double seconds = adapted.seconds();
    report({.name = fmt::format("{} r={}, {} tokens {}->{} f32, forward+backward", kind.name, kind.spec.rank, s.n, s.in,
                                s.out),
            .seconds = seconds,
            .rate = double(s.n) / seconds,
            .unit = "tokens/s",
            .limit = double(s.n) / plain_seconds});
  }
}

}  // namespace

void adapters(const Inputs&, Report report) {
  for (const Product& p : products) measure(p, report);
  for (const Site& s : sites) measure(s, report);
}

}  // namespace mora::bench
