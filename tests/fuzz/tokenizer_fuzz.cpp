// A tokenizer.json, a NUL, a text: whatever they are, the tokenizer is built or refused in an Error, and encodes,
// decodes and streams what it was built for.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <string_view>

#include "engine/error.h"
#include "loaders/json.h"
#include "loaders/tokenizer/tokenizer.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const size_t nul = input.find('\0');
  const std::string_view file = input.substr(0, nul);
  const std::string_view text = nul == input.npos ? "Hello, world! 12 a\u0301 中 <s> it's \xFF" : input.substr(nul + 1);
  try {
    const auto tokenizer = mora::Tokenizer::from_json(mora::parse_json(file, "fuzz"), "fuzz");
    const auto ids = tokenizer.encode(text);
    tokenizer.encode_pair(text, "b");
    tokenizer.decode(ids, false);
    mora::DecodeStream stream(tokenizer);
    for (const int32_t id : ids) stream.push(id);
    stream.finish();
  } catch (const mora::InternalError&) {
    std::abort();
  } catch (const mora::Error&) {
  }
  return 0;
}
