#include "loaders/chat_template/chat_template.h"

#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "loaders/chat_template/json_value.h"
#include "loaders/temporary_directory.h"

namespace mora {
namespace {

using nlohmann::ordered_json;

const ordered_json& goldens() {
  static const ordered_json file =
      ordered_json::parse(std::ifstream(MORA_SOURCE_DIR "/tests/goldens/chat_templates.json"));
  return file;
}

jinja::Value value_of(const ordered_json& json) { return jinja::json_value(json.dump(), "test"); }

// Renders as the golden was; a template that jinja2 refuses has to be refused.
void expect_golden(const std::string& source, const ordered_json& messages, const ChatVariables& variables,
                   const ordered_json& golden) {
  std::string text, error;
  try {
    text = ChatTemplate(source).render(value_of(messages), variables);
  } catch (const TemplateError& e) {
    error = e.what();
  }
  if (golden.contains("error")) {
    EXPECT_TRUE(error.starts_with("chat template: line ")) << source << "\nrendered: " << text;
    EXPECT_EQ(error.find('\n'), std::string::npos) << error;
  } else {
    EXPECT_EQ(error, "") << source;
    EXPECT_EQ(text, golden["text"].get<std::string>()) << source;
  }
}

TEST(ChatTemplate, RendersPublishedTemplatesAsJinja2) {
  for (const auto& each : goldens()["templates"]) {
    SCOPED_TRACE(each["name"].get<std::string>());
    for (const auto& run : each["runs"]) {
      const ChatVariables variables = {{"bos_token", "<s>"},
                                       {"eos_token", "</s>"},
                                       {"date_string", "26 Jul 2024"},
                                       {"tools", value_of(run["tools"])},
                                       {"add_generation_prompt", run["add_generation_prompt"].get<bool>()}};
      expect_golden(each["template"], run["messages"], variables, run);
    }
  }
}

TEST(ChatTemplate, EvaluatesAsJinja2) {
  const ordered_json& messages = goldens()["templates"][0]["runs"][2]["messages"];
  for (const auto& each : goldens()["cases"]) expect_golden(each["template"], messages, {}, each);
}

std::string error_of(const std::string& source) {
  return test::error_of<TemplateError>([&] { ChatTemplate(source).render(value_of(ordered_json::array())); });
}

TEST(ChatTemplate, ErrorsNameTheLine) {
  EXPECT_EQ(error_of("\n\n{{ missing.x }}"), "chat template: line 3: 'missing' is undefined");
  EXPECT_EQ(error_of("{{ messages[0].role }}"), "chat template: line 1: there is no item 0 in 0");
  EXPECT_EQ(error_of("a\n{% if x %}"), "chat template: line 2: the template ends where 'endif' is expected");
  EXPECT_EQ(error_of("{{ raise_exception('only\nusers') }}"), "chat template: line 1: only users");
  EXPECT_EQ(error_of("{{ 1 | shout }}"), "chat template: line 1: no filter is called 'shout'");
}

TEST(ChatTemplate, HostileTemplatesEndSoon) {
  const std::string loop = "{% for a in range(100000) %}{% for b in range(100000) %}";
  EXPECT_EQ(error_of(loop + "{% endfor %}{% endfor %}").find("chat template: line 1: the template "), 0u);
  error_of("{% set ns = namespace(s='x') %}{% for i in range(99) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}");
  error_of("{% set ns = namespace(l=[1]) %}{% for i in range(99) %}{% set ns.l = ns.l + ns.l %}{% endfor %}");
  error_of(
      "{% set ns = namespace(l=[1]) %}{% for i in range(99) %}{% set ns.l = [ns.l, ns.l] %}{% endfor %}{{ ns.l }}");
  error_of("{% set ns = namespace(l=[1]) %}{% for i in range(999) %}{% set ns.l = [ns.l] %}{% endfor %}");
  error_of("{{ 'x' * 9223372036854775807 }}");
  error_of("{{ ('x' * 1000000).replace('x', 'y' * 1000000) }}");
  error_of("{{ 'a\nb'|indent(9223372036854775807) }}");
  error_of("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}");
  error_of("{{ " + std::string(100000, '(') + "1");
  error_of("{{ " + std::string(100000, '[') + " }}");
  std::string sum = "{{ 1", nested;
  for (int i = 0; i < 100000; ++i) sum += " + 1", nested += "{% if 1 %}";
  error_of(sum + " }}");
  error_of(nested);
  error_of("{{ 9223372036854775807 + 1 }}");
  EXPECT_EQ(ChatTemplate("{% set ns = namespace() %}{% set ns.me = [ns] %}{{ ns.me|length }}").render({}), "1")
      << "no leak";
}

TEST(ChatTemplate, KnowsTheTimeAndItsTools) {
  const std::string year = ChatTemplate("{{ strftime_now('%Y') }}").render({});
  EXPECT_EQ(year.size(), 4u);
  EXPECT_EQ(ChatTemplate("{{ tools is none }}{{ documents is none }}").render({}), "TrueTrue");
}

TEST(ReadChatTemplate, PrefersTheJinjaFileAndTheDefaultName) {
  const test::TemporaryDirectory folder;
  EXPECT_EQ(read_chat_template(folder.path()), std::nullopt);
  folder.write("tokenizer_config.json",
               R"({"chat_template": [{"name": "rag", "template": "r"}, {"name": "default", "template": "d"}]})");
  EXPECT_EQ(read_chat_template(folder.path()), "d");
  folder.write("tokenizer_config.json", R"({"chat_template": "plain"})");
  EXPECT_EQ(read_chat_template(folder.path()), "plain");
  folder.write("chat_template.jinja", "file");
  EXPECT_EQ(read_chat_template(folder.path()), "file");
  folder.write("tokenizer_config.json", R"({"chat_template": [{"name": "rag", "template": "r"}]})");
  std::filesystem::remove(folder / "chat_template.jinja");
  EXPECT_THROW(read_chat_template(folder.path()), IoError);
}

}  // namespace
}  // namespace mora
