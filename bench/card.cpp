#include "bench/card.h"

#include <map>

#include "engine/cuda.h"
#include "kernels/matmul.h"

namespace mora::bench {

double copy_bandwidth(const Inputs& in) {
  static std::map<int, double> measured;
  const auto [found, is_new] = measured.try_emplace(in.device.index, 0);
  if (!is_new) return found->second;
  const int64_t count = in.smallest ? 1 << 10 : 1 << 28;  // far more than a cache holds
  const Tensor from = Tensor::zeros({count}, DType::f32, in.device);
  Tensor to = Tensor::empty(from.meta());
  const double seconds =
      median_seconds([&] { cuda::copy(to.mutable_raw(), in.device, from.raw(), in.device, from.bytes()); }, in);
  return found->second = 2 * double(from.bytes()) / seconds;
}

double product_rate(const Inputs& in, DType dtype) {
  static std::map<std::pair<int, DType>, double> measured;
  const auto [found, is_new] = measured.try_emplace({in.device.index, dtype}, 0);
  if (!is_new) return found->second;
  const int64_t n = in.smallest ? 16 : 8192;
  const Tensor a = normal_on(in, {n, n}, 1, dtype), b = normal_on(in, {n, n}, 2, dtype);
  Tensor y = Tensor::empty(a.meta());
  const double seconds = median_seconds([&] { kernels::matmul(a, b, y, {.transpose_b = true}); }, in);
  return found->second = 2 * double(n) * double(n) * double(n) / seconds;
}

double traffic_limit(const Inputs& in, Traffic traffic, int64_t bytes) {
  return (in.device == cpu ? bandwidth(traffic, bytes) : copy_bandwidth(in)) / 1e9;
}

Row row_of_products(const Inputs& in, std::string name, double flops, double seconds, DType dtype) {
  const bool here = in.device == cpu;
  const double unit = here ? 1e9 : 1e12;
  return {.name = std::move(name),
          .seconds = seconds,
          .rate = flops / seconds / unit,
          .unit = here ? "GFLOP/s" : "TFLOP/s",
          .limit = (here ? peak_flops(dtype) : product_rate(in, dtype)) / unit};
}

}  // namespace mora::bench
