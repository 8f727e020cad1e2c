#include "kernels/cpu/convert.h"

#include "kernels/cpu/elements.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/convert.cpp"
#include "kernels/cpu/foreach_target.h"
#include "kernels/cpu/simd.h"

HWY_BEFORE_NAMESPACE();
namespace mora::kernels::cpu::HWY_NAMESPACE {
namespace {

void convert_floating(const void* from, DType from_dtype, void* to, DType to_dtype, int64_t n) {
  visit_floating(from_dtype, "copy", [&](auto x) HWY_ATTR {
    visit_floating(to_dtype, "copy", [&](auto y) HWY_ATTR {
      using X = decltype(x);
      using Y = decltype(y);
      const std::conditional_t<std::is_same_v<X, double> || std::is_same_v<Y, double>, Tag<double>, Tag<float>> d;
      map(
          d, n, [](auto v) HWY_ATTR { return v; }, static_cast<Y*>(to), static_cast<const X*>(from));
    });
  });
}

}  // namespace
}  // namespace mora::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mora::kernels::cpu {
namespace {

HWY_EXPORT(convert_floating);

template <class Y, class X>
Y convert_one(X x) {
  if constexpr (std::is_same_v<X, bf16_t> || std::is_same_v<X, f16_t>) {
    return convert_one<Y>(float(x));
  } else if constexpr (std::is_same_v<Y, bool>) {
    return x != X(0);
  } else if constexpr (std::is_same_v<Y, bf16_t> || std::is_same_v<Y, f16_t>) {
    return Y(float(x));
  } else {
    return static_cast<Y>(x);
  }
}

}  // namespace

void convert(const void* from, DType from_dtype, void* to, DType to_dtype, int64_t n) {
  if (n == 0) return;
  if (from_dtype == to_dtype) {
    std::memcpy(to, from, size_t(n) * size_of(to_dtype));
  } else if (is_floating(from_dtype) && is_floating(to_dtype)) {
    HWY_DYNAMIC_DISPATCH(convert_floating)(from, from_dtype, to, to_dtype, n);
  } else {
    visit_dtype(from_dtype, [&](auto x) {
      visit_dtype(to_dtype, [&](auto y) {
        const auto* source = static_cast<const decltype(x)*>(from);
        auto* target = static_cast<decltype(y)*>(to);
        for (int64_t i = 0; i < n; ++i) target[i] = convert_one<decltype(y)>(source[i]);
      });
    });
  }
}

}  // namespace mora::kernels::cpu
#endif
