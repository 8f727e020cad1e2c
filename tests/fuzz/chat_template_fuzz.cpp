// Chat templates: any source either parses and renders in bounded time, or is a TemplateError of one line.
#include <cstdint>
#include <cstdlib>
#include <string>

#include "loaders/chat_template/chat_template.h"
#include "loaders/chat_template/json_value.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  static const mora::jinja::Value messages = mora::jinja::json_value(
      R"([{"role": "user", "content": " hi é "}, {"role": "assistant", "content": null, "tool_calls": [{"id": 1.5}]}])",
      "fuzz");
  try {
    mora::ChatTemplate({reinterpret_cast<const char*>(bytes), size})
        .render(messages, {{"bos_token", "<s>"}, {"add_generation_prompt", true}});
  } catch (const mora::TemplateError& error) {
    if (std::string(error.what()).find('\n') != std::string::npos) std::abort();
  }
  return 0;
}
