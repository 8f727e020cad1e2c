// y = op(a)·op(b) [+ y] and y = x·B + c by oneDNN: one engine, a stream a thread, primitives cached by shape.
#include "kernels/cpu/onednn.h"

#include <omp.h>

#include <algorithm>
#include <chrono>
#include <list>
#include <mutex>
#include <oneapi/dnnl/dnnl.hpp>
#include <unordered_map>
#include <vector>

#include "engine/spin.h"
#include "kernels/cpu/linear_rows.h"

namespace mora::kernels::cpu {
namespace {

using Tag = dnnl::memory::format_tag;

const dnnl::engine& engine() {
  static const dnnl::engine e = [] {
    // oneDNN's own cache would keep each primitive a second time, and ends the program where memory runs out.
    dnnl::set_primitive_cache_capacity(0);
    return dnnl::engine(dnnl::engine::kind::cpu, 0);
  }();
  return e;
}

dnnl::stream& stream() {
  thread_local dnnl::stream s(engine());
  return s;
}

dnnl::memory::data_type data_type(DType t) {
  return t == DType::bf16 ? dnnl::memory::data_type::bf16 : dnnl::memory::data_type::f32;
}

dnnl::memory::desc matrix(int64_t rows, int64_t columns, DType t, Tag tag) {
  return {{rows, columns}, data_type(t), tag};
}

// What a primitive is made for. Packed: op(b) in the layout the primitive asks for.
struct Key {
  Gemm gemm;
  bool packed = false;
  bool bias = false;
  bool operator==(const Key&) const = default;
};

struct KeyHash {
  size_t operator()(const Key& key) const {
    const Gemm& g = key.gemm;
    const int64_t flags = g.transpose_a | g.transpose_b << 1 | g.accumulate << 2 | key.packed << 3 | key.bias << 4 |
                          int64_t(g.input) << 8 | int64_t(g.output) << 12;
    uint64_t h = 0;
    for (int64_t part : {g.m, g.n, g.k, flags}) h = (h ^ uint64_t(part)) * 0x9E3779B97F4A7C15 + (h >> 29);
    return h;
  }
};

// A primitive and its arguments, whose pointers are set before each execution. Of one thread.
struct Product {
  dnnl::matmul primitive;
  dnnl::memory::desc b_layout;
  dnnl::memory x, y;
  std::vector<std::byte> scratchpad;
  std::unordered_map<int, dnnl::memory> arguments;

  void run(const void* x_data, const dnnl::memory& b, const dnnl::memory* bias, void* y_data) {
    x.set_data_handle(const_cast<void*>(x_data));
    y.set_data_handle(y_data);
    arguments[DNNL_ARG_WEIGHTS] = b;
    if (bias) arguments[DNNL_ARG_BIAS] = *bias;
    primitive.execute(stream(), arguments);
    stream().wait();
  }
};

dnnl::matmul::primitive_desc describe(const Key& key) {
  const Gemm& g = key.gemm;
  const auto a = matrix(g.m, g.k, g.input, g.transpose_a ? Tag::ba : Tag::ab);
  const auto b = matrix(g.k, g.n, g.input, key.packed ? Tag::any : g.transpose_b ? Tag::ba : Tag::ab);
  const auto bias = matrix(1, g.n, DType::f32, Tag::ab);
  const auto y = matrix(g.m, g.n, g.output, Tag::ab);
  dnnl::primitive_attr attributes;
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  if (g.accumulate) {
    dnnl::post_ops sum;
    sum.append_sum(1.0f);
    attributes.set_post_ops(sum);
  }
#if DNNL_VERSION_MAJOR >= 3
  return key.bias ? dnnl::matmul::primitive_desc(engine(), a, b, bias, y, attributes)
                  : dnnl::matmul::primitive_desc(engine(), a, b, y, attributes);
#else
  return {key.bias ? dnnl::matmul::desc(a, b, bias, y) : dnnl::matmul::desc(a, b, y), attributes, engine()};
#endif
}

Product make_product(const Key& key) {
  if (omp_in_parallel()) omp_set_num_threads(1);  // of this thread: the primitive is planned for it alone
  const auto description = describe(key);
  Product p;
  p.primitive = dnnl::matmul(description);
  p.b_layout = description.weights_desc();
  p.x = dnnl::memory(description.src_desc(), engine(), DNNL_MEMORY_NONE);
  p.y = dnnl::memory(description.dst_desc(), engine(), DNNL_MEMORY_NONE);
  const auto scratchpad = description.scratchpad_desc();
  p.scratchpad.resize(scratchpad.get_size());
  p.arguments = {{DNNL_ARG_SRC, p.x},
                 {DNNL_ARG_DST, p.y},
                 {DNNL_ARG_SCRATCHPAD, dnnl::memory(scratchpad, engine(), p.scratchpad.data())}};
  return p;
}

Product& product(const Key& key) {
  constexpr size_t most = 1024;
  thread_local std::unordered_map<Key, Product, KeyHash> cache;
  if (auto found = cache.find(key); found != cache.end()) return found->second;
  if (cache.size() >= most) cache.clear();
  return cache.emplace(key, make_product(key)).first->second;
}

// Calls f(begin, count) over blocks of [0, n) that have few sizes: up to 64 units, and where rows are left over, a last
// block of them and four units, since a few rows alone take as long as reading B. A primitive fits one shape, takes a
// third of a millisecond to make and keeps its code, and packed batches rarely repeat their number of tokens.
template <class F>
void for_blocks(int64_t n, int64_t unit, F f) {
  constexpr int64_t most_units = 64;
  const int64_t left = n % unit, last = left > 0 ? std::min(n, left + 4 * unit) : 0;
  const int64_t units = (n - last) / unit, blocks = (units + most_units - 1) / most_units;
  for (int64_t i = 0; i < blocks; ++i) {
    const int64_t begin = units * i / blocks * unit;
    f(begin, units * (i + 1) / blocks * unit - begin);
  }
  if (last > 0) f(n - last, last);
}

// The unit of blocks which are enough work for every thread.
int64_t unit_of_all() { return row_unit * ((threads() + 7) / 8); }

}  // namespace

// Tokens are the rows of a, or the depth of aᵀ·b: that side goes in blocks.
void gemm_onednn(const Gemm& g, const void* a, const void* b, void* y) {
  const auto run = [&](const Gemm& part, int64_t a_offset, int64_t b_offset, int64_t y_offset) {
    const auto at = [](const void* data, int64_t offset, DType t) {
      return const_cast<std::byte*>(static_cast<const std::byte*>(data) + offset * int64_t(size_of(t)));
    };
    Product& p = product({.gemm = part});
    p.run(at(a, a_offset, g.input), dnnl::memory(p.b_layout, engine(), at(b, b_offset, g.input)), nullptr,
          at(y, y_offset, g.output));
  };
  Gemm part = g;
  if (!g.transpose_a) {
    for_blocks(g.m, unit_of_all(), [&](int64_t begin, int64_t count) {
      part.m = count;
      run(part, begin * g.k, 0, begin * g.n);
    });
  } else if (!g.transpose_b && g.output == DType::f32) {
    for_blocks(g.k, unit_of_all(), [&](int64_t begin, int64_t count) {
      part.k = count;
      part.accumulate = g.accumulate || begin > 0;
      run(part, begin * g.m, begin * g.n, 0);
    });
  } else {
    run(g, 0, 0, 0);
  }
}

struct PackedMatrix::Impl {
  struct Form {
    Tensor bytes;
    dnnl::memory memory;
  };
  int64_t k, n;
  DType dtype;
  Tensor bias;
  dnnl::memory bias_memory;
  std::list<Form> forms;  // nearly always one: the layout hardly depends on the number of rows
  SpinLock forms_lock;

  void add_form(dnnl::memory source, const dnnl::memory::desc& layout) {
    Form form;
    form.bytes = Tensor::empty({int64_t(layout.get_size())}, DType::u8);
    form.memory = dnnl::memory(layout, engine(), form.bytes.mutable_raw());
    dnnl::reorder(source, form.memory).execute(stream(), source, form.memory);
    stream().wait();
    forms.push_back(std::move(form));
  }

  const dnnl::memory& in_layout(const dnnl::memory::desc& layout) {
    const std::lock_guard lock(forms_lock);
    for (const Form& form : forms)
      if (form.memory.get_desc() == layout) return form.memory;
    add_form(forms.front().memory, layout);
    return forms.back().memory;
  }

  Product& for_rows(int64_t rows, bool accumulate) const {
    return product({.gemm = {.m = rows, .n = n, .k = k, .accumulate = accumulate, .input = dtype, .output = dtype},
                    .packed = true,
                    .bias = bias.defined()});
  }

  // Rows [begin, end) of y.
  void multiply(const void* x, void* y, int64_t begin, int64_t end, int64_t unit, bool accumulate) {
    const int64_t x_row = k * int64_t(size_of(dtype)), y_row = n * int64_t(size_of(dtype));
    for_blocks(end - begin, unit, [&](int64_t first, int64_t count) {
      Product& p = for_rows(count, accumulate);
      p.run(static_cast<const std::byte*>(x) + (begin + first) * x_row, in_layout(p.b_layout),
            bias.defined() ? &bias_memory : nullptr, static_cast<std::byte*>(y) + (begin + first) * y_row);
    });
  }
};

PackedMatrix::PackedMatrix(const Tensor& b, bool transposed, const Tensor& bias) : impl_(std::make_unique<Impl>()) {
  Impl& p = *impl_;
  p.k = b.dim(transposed ? 1 : 0);
  p.n = b.dim(transposed ? 0 : 1);
  p.dtype = b.dtype();
  p.bias = bias;
  if (bias.defined())
    p.bias_memory = dnnl::memory(matrix(1, p.n, DType::f32, Tag::ab), engine(), const_cast<void*>(bias.raw()));
  const auto source = matrix(p.k, p.n, p.dtype, transposed ? Tag::ba : Tag::ab);
  p.add_form(dnnl::memory(source, engine(), const_cast<void*>(b.raw())), p.for_rows(512, false).b_layout);
}

PackedMatrix::~PackedMatrix() = default;

void PackedMatrix::multiply(const void* x, void* y, int64_t rows, bool accumulate) const {
  if (rows < least_rows_alone * threads()) return impl_->multiply(x, y, 0, rows, unit_of_all(), accumulate);
  parallel_for_rows(rows, 1,
                    [&](int64_t begin, int64_t end) { impl_->multiply(x, y, begin, end, row_unit, accumulate); });
}

void PackedMatrix::multiply_alone(const void* x, void* y, int64_t rows, bool accumulate) const {
  impl_->multiply(x, y, 0, rows, row_unit, accumulate);
}

int64_t PackedMatrix::bytes() const {
  int64_t sum = 0;
  for (const auto& form : impl_->forms) sum += form.bytes.numel();
  return sum;
}

namespace {

// A product that fits the caches; returns seconds.
class TimedProduct {
 public:
  explicit TimedProduct(DType dtype)
      : b_(Tensor::zeros({n, n}, dtype), false, {}),
        x_(Tensor::zeros({n, n}, dtype)),
        y_(Tensor::empty({n, n}, dtype)) {}

  double operator()() {
    const auto start = std::chrono::steady_clock::now();
    b_.multiply(x_.raw(), y_.mutable_raw(), n);
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  }

 private:
  static constexpr int64_t n = 256;
  PackedMatrix b_;
  Tensor x_, y_;
};

}  // namespace

bool measure_bf16_is_native() {
  try {
    describe({.gemm = {.m = 16, .n = 16, .k = 16, .input = DType::bf16, .output = DType::bf16}});
  } catch (const dnnl::error&) {
    return false;  // this processor has no bf16 product at all
  }
  // By turns, and for long enough that a moment in which the machine does something else does not decide.
  constexpr int turns = 30;
  TimedProduct bf16(DType::bf16), f32(DType::f32);
  double best_bf16 = bf16(), best_f32 = f32();
  for (int i = 0; i < turns; ++i) {
    best_bf16 = std::min(best_bf16, bf16());
    best_f32 = std::min(best_f32, f32());
  }
  return best_bf16 < best_f32;
}

}  // namespace mora::kernels::cpu
