// Any bytes are a GGUF file, whose tensors, configuration and tokenizer can be asked for, or an Error.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <nlohmann/json.hpp>

#include "engine/error.h"
#include "fuzz/input_file.h"
#include "loaders/gguf_model.h"

namespace {

template <class Action>
void try_it(Action action) {
  try {
    action();
  } catch (const mora::InternalError&) {
    std::abort();
  } catch (const mora::Error&) {
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const mora::test::InputFile input(data, size);
  try_it([&] {
    const auto file = mora::GgufFile::open(input.path());
    for (const mora::GgufTensor& t : file.tensors()) try_it([&] { file.tensor(t, mora::DType::f32); });
    try_it([&] { mora::gguf_config(file); });
    try_it([&] { mora::gguf_tokenizer_json(file).dump(); });
    try_it([&] { mora::gguf_chat_template(file); });
  });
  try_it([&] {
    const auto weights = mora::GgufWeights::open(input.path(), mora::DType::bf16);
    for (const std::string& name : weights->names()) try_it([&] { weights->load(name); });
  });
  return 0;
}
