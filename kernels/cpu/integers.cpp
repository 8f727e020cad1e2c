// Comparison, selection and integer arithmetic: plain loops over any strides, for the masks and ids around a model
// rather than its activations.
#include "kernels/cpu/integers.h"

#include "kernels/cpu/elements.h"

namespace mora::kernels::cpu {
namespace {

// y_i = g(a_i, b_i)
template <class T, class Y, class G>
void each_pair(const StridedWalk<2>& walk, const T* a, const T* b, Y* y, G g) {
  const int64_t sa = walk.inner_stride(0);
  const int64_t sb = walk.inner_stride(1);
  parallel_for(walk.numel, element_grain, [&](int64_t begin, int64_t end) {
    walk.rows(begin, end, [&](const std::array<int64_t, 2>& offsets, int64_t index, int64_t count) {
      const T* u = a + offsets[0];
      const T* v = b + offsets[1];
      for (int64_t i = 0; i < count; ++i) y[index + i] = g(u[i * sa], v[i * sb]);
    });
  });
}

template <class T>
void binary_typed(const StridedWalk<2>& walk, const T* a, const T* b, T* y, Binary f) {
  using U = std::make_unsigned_t<T>;  // wraps
  switch (f) {
    case Binary::add: return each_pair(walk, a, b, y, [](T u, T v) { return T(U(u) + U(v)); });
    case Binary::sub: return each_pair(walk, a, b, y, [](T u, T v) { return T(U(u) - U(v)); });
    case Binary::mul: return each_pair(walk, a, b, y, [](T u, T v) { return T(U(u) * U(v)); });
    case Binary::div: fail<DTypeError>("div: a tensor of {}, expected floating point", name_of(dtype_of<T>));
    case Binary::maximum: return each_pair(walk, a, b, y, [](T u, T v) { return std::max(u, v); });
    case Binary::minimum: return each_pair(walk, a, b, y, [](T u, T v) { return std::min(u, v); });
  }
}

// What stands for an element in a comparison.
template <class T>
T number(T v) {
  return v;
}
float number(bf16_t v) { return float(v); }
float number(f16_t v) { return float(v); }

template <class T>
void compare_typed(const StridedWalk<2>& walk, const T* a, const T* b, bool* y, Compare f) {
  switch (f) {
    case Compare::equal: return each_pair(walk, a, b, y, [](T u, T v) { return number(u) == number(v); });
    case Compare::less: return each_pair(walk, a, b, y, [](T u, T v) { return number(u) < number(v); });
    case Compare::less_equal: return each_pair(walk, a, b, y, [](T u, T v) { return number(u) <= number(v); });
    case Compare::greater: return each_pair(walk, a, b, y, [](T u, T v) { return number(u) > number(v); });
    case Compare::greater_equal: return each_pair(walk, a, b, y, [](T u, T v) { return number(u) >= number(v); });
  }
}

// y_i = c_i ? a_i : b_i for elements as bits: only their size matters.
template <class T>
void where_sized(const StridedWalk<3>& walk, const bool* c, const void* a, const void* b, void* y) {
  const int64_t sc = walk.inner_stride(0), sa = walk.inner_stride(1), sb = walk.inner_stride(2);
  parallel_for(walk.numel, element_grain, [&](int64_t begin, int64_t end) {
    walk.rows(begin, end, [&](const std::array<int64_t, 3>& offsets, int64_t index, int64_t count) {
      const bool* condition = c + offsets[0];
      const T* u = static_cast<const T*>(a) + offsets[1];
      const T* v = static_cast<const T*>(b) + offsets[2];
      T* out = static_cast<T*>(y) + index;
      for (int64_t i = 0; i < count; ++i) out[i] = condition[i * sc] ? u[i * sa] : v[i * sb];
    });
  });
}

void check_operands(std::string_view op, const Tensor& a, const Tensor& b, const Tensor& y) {
  invariant(a.shape() == y.shape() && b.shape() == y.shape() && y.is_contiguous() && a.dtype() == b.dtype(),
            "{}: {} {} and {} {} into {}", op, a.shape(), name_of(a.dtype()), b.shape(), name_of(b.dtype()), y.shape());
}

}  // namespace

void binary_integer(const StridedWalk<2>& walk, const Tensor& a, const Tensor& b, void* y, Binary f) {
  switch (a.dtype()) {
    case DType::i64: return binary_typed(walk, a.data<int64_t>(), b.data<int64_t>(), static_cast<int64_t*>(y), f);
    case DType::i32: return binary_typed(walk, a.data<int32_t>(), b.data<int32_t>(), static_cast<int32_t*>(y), f);
    default: fail<DTypeError>("binary: tensors of {}, expected floating point, i64 or i32", name_of(a.dtype()));
  }
}

void compare(const Tensor& a, const Tensor& b, Tensor& y, Compare f) {
  check_operands("compare", a, b, y);
  const StridedWalk<2> walk(y.shape(), {&a.strides(), &b.strides()});
  bool* out = y.mutable_data<bool>();
  visit_dtype(a.dtype(), [&](auto t) {
    using T = decltype(t);
    compare_typed(walk, a.data<T>(), b.data<T>(), out, f);
  });
}

void where(const Tensor& condition, const Tensor& a, const Tensor& b, Tensor& y) {
  check_operands("where", a, b, y);
  invariant(condition.shape() == y.shape() && a.dtype() == y.dtype(), "where: condition {} and {} into {} {}",
            condition.shape(), name_of(a.dtype()), y.shape(), name_of(y.dtype()));
  const StridedWalk<3> walk(y.shape(), {&condition.strides(), &a.strides(), &b.strides()});
  const bool* c = condition.data<bool>();
  void* out = y.mutable_raw();
  switch (size_of(a.dtype())) {
    case 1: return where_sized<uint8_t>(walk, c, a.raw(), b.raw(), out);
    case 2: return where_sized<uint16_t>(walk, c, a.raw(), b.raw(), out);
    case 4: return where_sized<uint32_t>(walk, c, a.raw(), b.raw(), out);
    default: return where_sized<uint64_t>(walk, c, a.raw(), b.raw(), out);
  }
}

}  // namespace mora::kernels::cpu
