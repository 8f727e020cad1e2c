#include "loaders/chat_template/chat_template.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "loaders/chat_template/interpreter.h"
#include "loaders/chat_template/parser.h"
#include "loaders/json.h"
#include "loaders/regular_file.h"
#include "loaders/utf8.h"

namespace mora {
namespace {

[[noreturn]] void fail_at(int line, std::string message) {
  std::replace(message.begin(), message.end(), '\n', ' ');
  fail<TemplateError>("chat template: line {}: {}", line, message);
}

}  // namespace

struct ChatTemplate::Parsed {
  jinja::Body body;
};

ChatTemplate::ChatTemplate(std::string source) : source_(replace_invalid_utf8(source)) {
  try {
    parsed_ = std::make_shared<Parsed>(Parsed{jinja::parse_template(source_)});
  } catch (const jinja::SyntaxError& error) {
    fail_at(error.line, error.message);
  }
}

std::string ChatTemplate::render(const jinja::Value& messages, const ChatVariables& variables) const {
  ChatVariables all = variables;
  all.insert_or_assign("messages", messages);
  all.try_emplace("tools");
  all.try_emplace("documents");
  all.try_emplace("add_generation_prompt", false);
  jinja::Interpreter interpreter(std::move(all));
  try {
    return interpreter.run(parsed_->body);
  } catch (const jinja::EvalError& error) {
    fail_at(interpreter.line(), error.message);
  }
}

std::optional<std::string> read_chat_template(const std::filesystem::path& directory) {
  constexpr size_t kMaxBytes = size_t{16} << 20;
  std::error_code missing;
  if (std::filesystem::exists(directory / "chat_template.jinja", missing))
    return read_regular_file(directory / "chat_template.jinja", kMaxBytes);
  const auto config_file = directory / "tokenizer_config.json";
  if (!std::filesystem::exists(config_file, missing)) return std::nullopt;
  const nlohmann::json config = read_json(config_file);
  if (!config.is_object() || !config.contains("chat_template")) return std::nullopt;
  const nlohmann::json& held = config["chat_template"];
  if (held.is_string()) return held.get<std::string>();
  if (held.is_null()) return std::nullopt;
  require<IoError>(held.is_array(), "{}: chat_template: expected a string or a list", config_file.string());
  for (const nlohmann::json& each : held)
    if (each.is_object() && each.value("name", nlohmann::json()) == "default" && each.contains("template") &&
        each["template"].is_string())
      return each["template"].get<std::string>();
  fail<IoError>("{}: chat_template: no template is called 'default'", config_file.string());
}

}  // namespace mora
