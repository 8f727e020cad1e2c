// Text generation, one token at a time: every weight is read once a token, so that memory sets the limit.
//
// First the linears of a SmolLM2-like model alone, over more copies of each weight than the caches hold, against the
// bandwidth of reading as many bytes. With a model, greedy generation itself: a prompt of 128 tokens against the peak
// of its dtype, and 128 new ones against the measured bandwidth divided by the weights' bytes.
#include <algorithm>
#include <array>

#include "bench/bench.h"
#include "bench/machine.h"
#include "mora/generation/generate.h"
#include "mora/models/registry.h"

namespace mora::bench {
namespace {

struct Sizes {
  int64_t out, in;
};
constexpr Sizes sizes[] = {{576, 576}, {192, 576}, {1536, 576}, {576, 1536}, {49152, 576}};

void measure_linear(Sizes s, int64_t n, DType dtype, Report report) {
  constexpr int64_t beyond_caches = int64_t{160} << 20;
  const int64_t bytes = s.out * s.in * int64_t(size_of(dtype));
  const int64_t copies = (beyond_caches + bytes - 1) / bytes;
  const Tensor x = normal({n, s.in}, 1, dtype), w = normal({s.out, s.in}, 2, dtype);
  Tensor y = Tensor::empty({n, s.out}, dtype);
  std::vector<std::unique_ptr<kernels::FrozenWeight>> weights;
  for (int64_t i = 0; i < copies; ++i) {
    Tensor copy = Tensor::empty(w.shape(), dtype);
    std::memcpy(copy.mutable_raw(), w.raw(), w.bytes());
    weights.push_back(std::make_unique<kernels::FrozenWeight>(std::move(copy), Tensor()));
  }
  const auto pass = [&] {
    for (const auto& weight : weights) kernels::linear(x, *weight, y);
  };
  pass();
  if (dtype == DType::f32) {
    double expected = 0;
    for (int64_t i = 0; i < s.in; ++i)
      expected += double(x.data<float>()[(n - 1) * s.in + i]) * double(w.data<float>()[(s.out - 1) * s.in + i]);
    check_near("the last element of a linear", double(y.data<float>()[n * s.out - 1]), expected, 1e-3);
  }
  const double seconds = median_seconds(pass) / double(copies);
  report({.name = fmt::format("linear {}x{}x{} {}", n, s.out, s.in, name_of(dtype)),
          .seconds = seconds,
          .rate = double(bytes) / seconds / 1e9,
          .unit = "GB/s",
          .limit = bandwidth(Traffic::read, copies * bytes) / 1e9});
}

// Weights that a token passes through, in elements.
int64_t weights_of(Model& model) {
  int64_t sum = model.lm_head()->in() * model.lm_head()->out();
  model.visit_linears([&](const std::string&, LinearSlot& slot) { sum += slot->in() * slot->out(); });
  return sum;
}

void measure_generation(const std::string& path, DType dtype, Report report) {
  constexpr int64_t length = 128;
  const auto model = load_model(path, dtype);
  require<ConfigError>(model->lm_head() != nullptr, "--model {}: no language model; decode needs one", path);
  std::vector<int32_t> prompt;
  for (int64_t i = 0; i < length; ++i) prompt.push_back(int32_t(i * 37 % model->config().vocab_size));
  const auto run = [&](const std::vector<int32_t>& ids, int64_t tokens) {
    return generate(*model, {ids}, {.max_tokens = tokens, .stop_tokens = {}, .sampling = {}}, [](size_t, int32_t) {});
  };
  // The token behind eight generated ones is the token behind the same eight read at once.
  const auto nine = run(prompt, 9).ids[0];
  std::vector<int32_t> read = prompt;
  read.insert(read.end(), nine.begin(), nine.end() - 1);
  require<Error>(dtype != DType::f32 || run(read, 1).ids[0][0] == nine.back(),
                 "bench: {}: a token read from the cache differs from one read at once", path);

  // Each generation stands beside its own limits, as other guests of a machine change them within seconds.
  struct Measured {
    double seconds, limit;  // of tokens a second
    double share() const { return 1 / (seconds * limit); }
  };
  const double weights = double(weights_of(*model)), bytes = weights * double(size_of(dtype));
  std::array<Measured, 9> prompts{}, tokens{};
  for (size_t i = 0; i < prompts.size(); ++i) {
    const double peak = peak_flops(dtype) / (2 * weights), passes = bandwidth(Traffic::read, int64_t(bytes)) / bytes;
    const GenerationResult result = run(prompt, length);
    prompts[i] = {result.prefill_seconds / double(length), peak};
    tokens[i] = {result.decode_seconds / double(result.decode_tokens), passes};
  }
  for (auto* of : {&prompts, &tokens}) std::ranges::nth_element(*of, of->begin() + 4, {}, &Measured::share);
  const Measured a_prompt = prompts[4], a_token = tokens[4];
  report({.name = fmt::format("prompt of {} tokens {}", length, name_of(dtype)),
          .seconds = double(length) * a_prompt.seconds,
          .rate = 1 / a_prompt.seconds,
          .unit = "tokens/s",
          .limit = a_prompt.limit});
  report({.name = fmt::format("one token of {} new ones {}", length, name_of(dtype)),
          .seconds = a_token.seconds,
          .rate = 1 / a_token.seconds,
          .unit = "tokens/s",
          .limit = a_token.limit});
}

}  // namespace

void decode(const Inputs& inputs, Report report) {
  for (DType dtype : {DType::f32, DType::bf16}) {
    for (const Sizes& s : sizes)
      for (int64_t n : {1, 4}) measure_linear(s, n, dtype, report);
  }
  if (inputs.model.empty()) return;
  for (DType dtype : {DType::f32, DType::bf16}) measure_generation(inputs.model, dtype, report);
}

}  // namespace mora::bench
