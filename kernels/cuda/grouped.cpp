#include "kernels/grouped.h"

#include <algorithm>

#include "kernels/cuda/grouped.h"
#include "kernels/cuda/index_error_words.h"
#include "kernels/cuda/tensor_view.h"
#include "kernels/product_checks.h"

namespace mora::kernels::cuda {
namespace {

// The views but for the one of the output, which the caller makes.
GroupedView grouped_view(std::string_view op, const Tensor& x, const Tensor& w, const Tensor& h,
                         const RowGroups& groups, Tensor& index_errors) {
  check_groups(op, x, w, h, groups);
  require_floating(op, x);
  require_device_of(x, op, w, h, groups.rows);
  require<ShapeError>(w.dim(0) <= most_groups, "{}: {} groups: expected at most {}", op, w.dim(0), most_groups);
  for (const Tensor* t : {&x, &w, &h}) {
    invariant(t->dtype() == x.dtype() && t->is_contiguous(), "{}: a tensor {} of {}", op, t->shape(),
              name_of(t->dtype()));
    require<ShapeError>(t->dim(0) <= INT32_MAX && t->dim(1) <= INT32_MAX, "{}: {} is too large", op, t->shape());
  }
  GroupedView result{view(x),       view(w),       view(h),       view(groups.rows), output(index_errors),
                     int(x.dim(0)), int(h.dim(1)), int(x.dim(1)), int(w.dim(0))};
  std::copy(groups.offsets.begin(), groups.offsets.end(), result.offsets);
  return result;
}

}  // namespace

void gather_products(const Tensor& x, const Tensor& w, Tensor& h, const RowGroups& groups) {
  Tensor errors = index_error_words(x.device());
  GroupedView products = grouped_view("gather_products", x, w, h, groups, errors);
  products.h = output(h);
  launch_gather_products(products);
}

void scatter_products(const Tensor& h, const Tensor& w, Tensor& x, const RowGroups& groups) {
  Tensor errors = index_error_words(x.device());
  GroupedView products = grouped_view("scatter_products", x, w, h, groups, errors);
  products.x = output(x);
  launch_scatter_products(products);
}

void outer_products(const Tensor& h, const Tensor& x, Tensor& w, const RowGroups& groups) {
  Tensor errors = index_error_words(x.device());
  GroupedView products = grouped_view("outer_products", x, w, h, groups, errors);
  products.w = output(w);
  launch_outer_products(products);
}

}  // namespace mora::kernels::cuda
