// Rows by index, and their adjoint.
//
// scatter_add_rows sorts the rows by target first: each target row is then one sum in f32 (f64), rounded once and in
// the order of n, whatever the number of threads.
#include <algorithm>
#include <numeric>

#include "kernels/checks.h"
#include "kernels/copy.h"
#include "kernels/cpu/convert.h"
#include "kernels/cpu/elements.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/gather.cpp"
#include "kernels/cpu/foreach_target.h"
#include "kernels/cpu/simd.h"

HWY_BEFORE_NAMESPACE();
namespace mora::kernels::cpu::HWY_NAMESPACE {
namespace {

// y[0…width) += Σ_k x[rows[k]]
void add_rows(const Tensor& x, const int32_t* rows, int64_t count, void* y, DType y_dtype, int64_t row) {
  const int64_t width = x.dim(1);
  visit_floating(x.dtype(), "scatter_add_rows", [&](auto a) HWY_ATTR {
    visit_floating(y_dtype, "scatter_add_rows", [&](auto b) HWY_ATTR {
      using X = decltype(a);
      using Y = decltype(b);
      const std::conditional_t<std::is_same_v<X, double> || std::is_same_v<Y, double>, Tag<double>, Tag<float>> d;
      const X* from = x.data<X>();
      Y* to = static_cast<Y*>(y) + row * width;
      for_each_vector(d, width, [&](int64_t i, auto... n) HWY_ATTR {
        auto sum = load(d, to + i, n...);
        for (int64_t k = 0; k < count; ++k) sum = hn::Add(sum, load(d, from + rows[k] * width + i, n...));
        store(sum, d, to + i, n...);
      });
    });
  });
}

}  // namespace
}  // namespace mora::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mora::kernels::cpu {
namespace {

HWY_EXPORT(add_rows);

void check_rows(std::string_view op, const Tensor& table, const Tensor& ids, const Tensor& rows) {
  check_rows_by_index(op, table, ids, rows);
  for (int32_t id : ids.values<int32_t>())
    require<ShapeError>(id >= 0 && id < table.dim(0), "{}: id {} of a table of {} rows", op, id, table.dim(0));
}

}  // namespace

void gather_rows(const Tensor& table, const Tensor& ids, Tensor& y) {
  check_rows("gather_rows", table, ids, y);
  const int64_t width = y.dim(1);
  const auto from_bytes = width * int64_t(size_of(table.dtype()));
  const auto to_bytes = width * int64_t(size_of(y.dtype()));
  const auto* from = static_cast<const std::byte*>(table.raw());
  auto* to = static_cast<std::byte*>(y.mutable_raw());
  const int32_t* id = ids.data<int32_t>();
  parallel_for(y.dim(0), row_grain(width), [&](int64_t begin, int64_t end) {
    for (int64_t n = begin; n < end; ++n)
      convert(from + id[n] * from_bytes, table.dtype(), to + n * to_bytes, y.dtype(), width);
  });
}

void scatter_add_rows(const Tensor& x, const Tensor& ids, Tensor& y) {
  check_rows("scatter_add_rows", y, ids, x);
  const int32_t* id = ids.data<int32_t>();
  std::vector<int32_t> order(size_t(x.dim(0)));
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) { return id[a] < id[b]; });
  std::vector<int64_t> starts;  // of the runs of one target in `order`
  for (size_t k = 0; k < order.size(); ++k) {
    if (k == 0 || id[order[k]] != id[order[k - 1]]) starts.push_back(int64_t(k));
  }
  const auto runs = int64_t(starts.size());
  starts.push_back(int64_t(order.size()));
  void* to = y.mutable_raw();
  parallel_for(runs, row_grain(x.dim(1)), [&](int64_t begin, int64_t end) {
    for (auto run = size_t(begin); run < size_t(end); ++run) {
      const int32_t* rows = order.data() + starts[run];
      HWY_DYNAMIC_DISPATCH(add_rows)(x, rows, starts[run + 1] - starts[run], to, y.dtype(), id[*rows]);
    }
  });
}

}  // namespace mora::kernels::cpu
#endif
