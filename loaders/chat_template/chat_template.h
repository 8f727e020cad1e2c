// Chat templates: the Jinja program a model comes with, which turns messages into the text it was trained on.
//
// The part of Jinja that published templates use, rendered as transformers does: trim_blocks and lstrip_blocks on,
// values immutable, `raise_exception` and `strftime_now` there. A template is hostile input: time, memory and depth are
// bounded.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "engine/error.h"
#include "loaders/chat_template/value.h"

namespace mora {

struct TemplateError : Error {
  using Error::Error;
};  // "chat template: line 3: …", one line

// What a template sees beside `messages`: bos_token, eos_token, add_generation_prompt, tools …
using ChatVariables = std::map<std::string, jinja::Value>;

class ChatTemplate {
 public:
  explicit ChatTemplate(std::string source);  // TemplateError: its syntax

  const std::string& source() const { return source_; }

  // `messages` is a list of {role, content, …} (jinja::json_value reads one). `tools` and `documents` are none unless
  // given. TemplateError: what the template refuses or cannot do.
  std::string render(const jinja::Value& messages, const ChatVariables& variables = {}) const;

 private:
  struct Parsed;
  std::string source_;
  std::shared_ptr<const Parsed> parsed_;
};

// The template of a Hugging Face directory: chat_template.jinja, else tokenizer_config.json's `chat_template` (a
// string, or a list of named ones of which "default" counts). Nothing if it has none.
std::optional<std::string> read_chat_template(const std::filesystem::path& directory);

}  // namespace mora
