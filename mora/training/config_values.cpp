#include "mora/training/config_values.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>

#include "engine/error.h"

namespace mora {
namespace {

// The text of a plain, unquoted scalar without its plus sign; nothing for any other node.
std::optional<std::string_view> plain_text(const YamlNode& node) {
  if (node.kind != YamlNode::Kind::text || node.quoted || node.text.empty()) return {};
  std::string_view text = node.text;
  if (text[0] == '+' && text.size() > 1 && text[1] != '-') text.remove_prefix(1);
  return text;
}

template <class T>
std::optional<T> whole_number(std::string_view text) {
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return {};
  return value;
}

bool has_leading_zero(std::string_view text) {
  if (!text.empty() && text[0] == '-') text.remove_prefix(1);
  return text.size() > 1 && text[0] == '0' && text[1] >= '0' && text[1] <= '9';
}

std::optional<double> finite_number(std::string_view text) {
  if (has_leading_zero(text)) return {};
  const std::optional<double> value = whole_number<double>(text);
  return value && std::isfinite(*value) ? value : std::nullopt;
}

}  // namespace

std::optional<int64_t> read_integer(const YamlNode& node) {
  const auto text = plain_text(node);
  if (!text || has_leading_zero(*text)) return {};
  return whole_number<int64_t>(*text);
}

std::optional<double> read_number(const YamlNode& node) {
  const auto text = plain_text(node);
  return text ? finite_number(*text) : std::nullopt;
}

std::string write_number(double value) { return fmt::format("{}", value); }

std::string write_text(std::string_view text) {
  static constexpr std::string_view kPlain = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_./+-";
  static constexpr std::string_view kWords[] = {"null", "true", "false", "yes", "no", "on",
                                                "off",  "y",    "n",     "inf", "nan"};
  std::string lower(text);
  std::transform(lower.begin(), lower.end(), lower.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
  const bool starts_as_word =
      !text.empty() && (std::isalpha(static_cast<unsigned char>(text[0])) || text[0] == '_' || text[0] == '/');
  if (starts_as_word && text.find_first_not_of(kPlain) == text.npos &&
      std::find(std::begin(kWords), std::end(kWords), lower) == std::end(kWords))
    return std::string(text);
  std::string quoted = "\"";
  for (char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\')
      quoted += fmt::format("\\{}", c);
    else if (byte < 0x20 || byte == 0x7f)
      quoted += fmt::format("\\x{:02x}", byte);
    else
      quoted += c;
  }
  return quoted + "\"";
}

std::optional<StepsOrShare> Codec<StepsOrShare>::read(const YamlNode& node) {
  const std::optional<double> value = read_number(node);
  if (!value || *value < 0 || *value > 2147483647 || (*value >= 1 && *value != std::floor(*value))) return {};
  return StepsOrShare{*value};
}

std::optional<Interval> Codec<Interval>::read(const YamlNode& node) {
  const auto text = plain_text(node);
  if (!text) return {};
  if (text->ends_with("epoch")) {
    const std::optional<double> share = finite_number(text->substr(0, text->size() - 5));
    return share && *share > 0 ? std::optional(Interval{.epochs = *share}) : std::nullopt;
  }
  const std::optional<int64_t> steps = read_integer(node);
  return steps && *steps > 0 ? std::optional(Interval{.steps = *steps}) : std::nullopt;
}

std::optional<ClassWeights> Codec<ClassWeights>::read(const YamlNode& node) {
  if (node.kind == YamlNode::Kind::text && node.text == "balanced")
    return ClassWeights{.balanced = true, .weights = {}};
  std::optional<std::vector<double>> weights = read_list<double>(node, false);
  if (!weights || weights->empty() || std::any_of(weights->begin(), weights->end(), [](double w) { return w <= 0; }))
    return {};
  return ClassWeights{.weights = std::move(*weights)};
}

std::string_view name_of(Task task) { return enum_name(task); }
Task parse_task(std::string_view name) {
  for (const auto& [known, task] : EnumNames<Task>::all)
    if (name == known) return task;
  fail<ConfigError>("task: '{}': expected {}", name, Codec<Task>::type());
}
std::string_view name_of(Precision precision) { return enum_name(precision); }

}  // namespace mora
