// Loaded before the `mora` program (LD_PRELOAD), lets its n-th `operator new` fail, counted from the begin of main:
//   MORA_FAIL_ALLOCATION=N        that one
//   MORA_FAIL_ALL_AFTER=1         and those after it
//   MORA_COUNT_ALLOCATIONS=FILE   writes how many there were
#include <dlfcn.h>

#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <new>

namespace {

std::atomic<int64_t> count{INT64_MIN / 2};
int64_t first_failure = INT64_MAX, last_failure = INT64_MAX;

void* allocate_or_throw(size_t bytes, size_t alignment) {
  const int64_t n = count.fetch_add(1);
  const bool fails = first_failure <= n && n <= last_failure;
  void* pointer = fails ? nullptr : std::aligned_alloc(alignment, (bytes + alignment) / alignment * alignment);
  if (!pointer) throw std::bad_alloc();
  return pointer;
}

int (*real_main)(int, char**, char**);

int counting_main(int argc, char** argv, char** environment) {
  if (const char* n = std::getenv("MORA_FAIL_ALLOCATION")) {
    first_failure = std::atoll(n);
    if (!std::getenv("MORA_FAIL_ALL_AFTER")) last_failure = first_failure;
  }
  count = 0;
  const int code = real_main(argc, argv, environment);
  const int64_t all = count.exchange(INT64_MIN / 2);
  if (const char* path = std::getenv("MORA_COUNT_ALLOCATIONS")) {
    std::FILE* file = std::fopen(path, "w");
    if (!file || std::fprintf(file, "%lld", static_cast<long long>(all)) < 0 || std::fclose(file) != 0) std::abort();
  }
  return code;
}

}  // namespace

void* operator new(size_t bytes) { return allocate_or_throw(bytes, __STDCPP_DEFAULT_NEW_ALIGNMENT__); }
void* operator new(size_t bytes, std::align_val_t alignment) { return allocate_or_throw(bytes, size_t(alignment)); }
void operator delete(void* pointer) noexcept { std::free(pointer); }
void operator delete(void* pointer, size_t) noexcept { std::free(pointer); }
void operator delete(void* pointer, std::align_val_t) noexcept { std::free(pointer); }
void operator delete(void* pointer, size_t, std::align_val_t) noexcept { std::free(pointer); }

extern "C" int __libc_start_main(int (*main)(int, char**, char**), int argc, char** argv, void (*init)(),
                                 void (*fini)(), void (*rtld_fini)(), void* stack_end) {
  real_main = main;
  using Start = int (*)(int (*)(int, char**, char**), int, char**, void (*)(), void (*)(), void (*)(), void*);
  const auto next = reinterpret_cast<Start>(::dlsym(RTLD_NEXT, "__libc_start_main"));
  return next(counting_main, argc, argv, init, fini, rtld_fini, stack_end);
}
