// Static partitions over the processor's threads: results do not depend on timing, and depend on the number of threads
// only where a reduction says so.
#pragma once

#include <cstdint>
#include <type_traits>
#include <utility>

namespace mora {

// A reference to a callable, for the duration of a call. (std::function would allocate.)
template <class Signature>
class FunctionRef;
template <class R, class... Args>
class FunctionRef<R(Args...)> {
 public:
  template <class F>
  requires(!std::is_same_v<std::remove_cvref_t<F>, FunctionRef>)
      FunctionRef(F&& f)  // NOLINT(google-explicit-constructor)
      : object_(const_cast<void*>(static_cast<const void*>(&f))), call_([](void* object, Args... args) -> R {
          return (*static_cast<std::remove_reference_t<F>*>(object))(std::forward<Args>(args)...);
        }) {}
  R operator()(Args... args) const { return call_(object_, std::forward<Args>(args)...); }

 private:
  void* object_;
  R (*call_)(void*, Args...);
};

// The number of threads parallel_for uses (OpenMP's; OMP_NUM_THREADS or set_threads).
int threads();
void set_threads(int n);

// Calls f(begin, end) over disjoint ranges that cover [0, n), one range a thread, none smaller than `grain` where n
// allows; inline when one range is enough or when called from inside a parallel region. An exception in f reaches the
// caller.
void parallel_for(int64_t n, int64_t grain, FunctionRef<void(int64_t begin, int64_t end)> f);

}  // namespace mora
