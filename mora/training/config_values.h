// How the values of the configuration are read from YAML and written back: one Codec a type. `read` gives nothing where
// the node is not of the type, and the caller says what was expected; `type` are the words for that.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "mora/training/config.h"
#include "mora/training/yaml_document.h"

namespace mora {

// Numbers as everyone writes them: 1e-4 and 1.5 are numbers, 010, 1_000, "8" (quoted), inf and nan are not.
std::optional<int64_t> read_integer(const YamlNode& node);
std::optional<double> read_number(const YamlNode& node);
std::string write_number(double value);         // the shortest text that reads back to the same value
std::string write_text(std::string_view text);  // in quotes where any YAML reader might take it for something else

template <class T>
struct Codec;

template <>
struct Codec<bool> {
  static std::string type() { return "true or false"; }
  static std::optional<bool> read(const YamlNode& node) {
    if (node.kind != YamlNode::Kind::text || node.quoted || (node.text != "true" && node.text != "false")) return {};
    return node.text == "true";
  }
  static std::string write(bool value) { return value ? "true" : "false"; }
};

template <>
struct Codec<int64_t> {
  static std::string type() { return "an integer"; }
  static std::optional<int64_t> read(const YamlNode& node) { return read_integer(node); }
  static std::string write(int64_t value) { return std::to_string(value); }
};

template <>
struct Codec<double> {
  static std::string type() { return "a number"; }
  static std::optional<double> read(const YamlNode& node) { return read_number(node); }
  static std::string write(double value) { return write_number(value); }
};

template <>
struct Codec<std::string> {
  static std::string type() { return "a text"; }
  static std::optional<std::string> read(const YamlNode& node) {
    if (node.kind != YamlNode::Kind::text || node.text.empty()) return {};
    return node.text;
  }
  static std::string write(const std::string& value) { return write_text(value); }
};

template <class T>
struct Codec<std::optional<T>> {
  static std::string type() { return Codec<T>::type(); }
  static std::optional<std::optional<T>> read(const YamlNode& node) {
    if (node.kind == YamlNode::Kind::null) return std::optional<T>{};
    std::optional<T> value = Codec<T>::read(node);
    return value ? std::optional<std::optional<T>>(std::move(value)) : std::nullopt;
  }
  static std::string write(const std::optional<T>& value) { return value ? Codec<T>::write(*value) : "null"; }
};

// [a, b]; null is the empty list. A single value may stand without brackets where `one` says so.
template <class T>
std::optional<std::vector<T>> read_list(const YamlNode& node, bool one) {
  std::vector<T> values;
  if (node.kind == YamlNode::Kind::null) return values;
  const std::span<const YamlNode> items =
      node.kind == YamlNode::Kind::list ? std::span(node.items) : std::span(&node, 1);
  if (node.kind != YamlNode::Kind::list && !one) return {};
  for (const YamlNode& item : items) {
    std::optional<T> value = Codec<T>::read(item);
    if (!value) return {};
    values.push_back(std::move(*value));
  }
  return values;
}

template <class List>
std::string write_list(const List& values) {
  std::string text;
  for (const auto& value : values)
    text += (text.empty() ? "" : ", ") + Codec<std::decay_t<decltype(value)>>::write(value);
  return "[" + text + "]";
}

template <>
struct Codec<std::vector<std::string>> {
  static std::string type() { return "a text or a list of texts"; }
  static std::optional<std::vector<std::string>> read(const YamlNode& node) {
    return read_list<std::string>(node, true);
  }
  static std::string write(const std::vector<std::string>& values) {
    return values.size() == 1 ? write_text(values[0]) : write_list(values);
  }
};

template <>
struct Codec<std::vector<int64_t>> {
  static std::string type() { return "a list of integers"; }
  static std::optional<std::vector<int64_t>> read(const YamlNode& node) { return read_list<int64_t>(node, false); }
  static std::string write(const std::vector<int64_t>& values) { return write_list(values); }
};

template <>
struct Codec<std::array<double, 2>> {
  static std::string type() { return "a list of two numbers"; }
  static std::optional<std::array<double, 2>> read(const YamlNode& node) {
    const std::optional<std::vector<double>> values = read_list<double>(node, false);
    if (!values || values->size() != 2) return {};
    return std::array{(*values)[0], (*values)[1]};
  }
  static std::string write(const std::array<double, 2>& values) { return write_list(values); }
};

template <class T>
struct Codec<std::map<std::string, T>> {
  static std::string type() {
    return "a mapping from texts to " + Codec<T>::type().substr(Codec<T>::type().find(' ') + 1) + "s";
  }
  static std::optional<std::map<std::string, T>> read(const YamlNode& node) {
    std::map<std::string, T> values;
    if (node.kind == YamlNode::Kind::null) return values;
    if (node.kind != YamlNode::Kind::map) return {};
    for (const YamlEntry& entry : node.entries) {
      const std::optional<T> value = Codec<T>::read(entry.value);
      if (!value) return {};
      values.emplace(entry.key, *value);
    }
    return values;
  }
  static std::string write(const std::map<std::string, T>& values) {
    std::string text;
    for (const auto& [key, value] : values)
      text += (text.empty() ? "" : ", ") + write_text(key) + ": " + Codec<T>::write(value);
    return "{" + text + "}";
  }
};

template <>
struct Codec<std::variant<std::string, std::vector<std::string>>> {
  using Value = std::variant<std::string, std::vector<std::string>>;
  static std::string type() { return "a text or a list of texts"; }
  static std::optional<Value> read(const YamlNode& node) {
    if (const auto text = Codec<std::string>::read(node)) return *text;
    const auto list = read_list<std::string>(node, false);
    return list && !list->empty() ? std::optional<Value>(*list) : std::nullopt;
  }
  static std::string write(const Value& value) {
    return value.index() == 0 ? write_text(std::get<0>(value)) : write_list(std::get<1>(value));
  }
};

template <>
struct Codec<StepsOrShare> {
  static std::string type() { return "a number of steps, or a share below 1"; }
  static std::optional<StepsOrShare> read(const YamlNode& node);
  static std::string write(const StepsOrShare& value) { return write_number(value.value); }
};

template <>
struct Codec<Interval> {
  static std::string type() { return "a number of steps such as 200, or a share of the data such as 0.25epoch"; }
  static std::optional<Interval> read(const YamlNode& node);
  static std::string write(const Interval& value) {
    return value.steps > 0 ? std::to_string(value.steps) : write_number(value.epochs) + "epoch";
  }
};

template <>
struct Codec<ClassWeights> {
  static std::string type() { return "balanced, or a list of numbers above 0"; }
  static std::optional<ClassWeights> read(const YamlNode& node);
  static std::string write(const ClassWeights& value) {
    return value.balanced ? "balanced" : write_list(value.weights);
  }
};

// The names of an enumeration. The first name of a value is the one that is written.
template <class E>
struct EnumNames;

template <>
struct EnumNames<Task> {
  static constexpr std::pair<std::string_view, Task> all[] = {
      {"classification", Task::classification}, {"regression", Task::regression}, {"causal_lm", Task::causal_lm}};
};
template <>
struct EnumNames<Precision> {
  static constexpr std::pair<std::string_view, Precision> all[] = {
      {"f32", Precision::f32}, {"bf16", Precision::bf16}, {"f16", Precision::f16}};
};
template <>
struct EnumNames<ScheduleKind> {
  static constexpr std::pair<std::string_view, ScheduleKind> all[] = {
      {"linear", ScheduleKind::linear},
      {"cosine", ScheduleKind::cosine},
      {"cosine_with_restarts", ScheduleKind::cosine_with_restarts},
      {"polynomial", ScheduleKind::polynomial},
      {"inverse_sqrt", ScheduleKind::inverse_sqrt},
      {"warmup_stable_decay", ScheduleKind::warmup_stable_decay},
      {"constant", ScheduleKind::constant},
      {"constant_with_warmup", ScheduleKind::constant_with_warmup},
      {"cosine_with_min_lr", ScheduleKind::cosine},  // Hugging Face's name for cosine with a floor
  };
};
template <>
struct EnumNames<DecayShape> {
  static constexpr std::pair<std::string_view, DecayShape> all[] = {
      {"cosine", DecayShape::cosine}, {"linear", DecayShape::linear}, {"1-sqrt", DecayShape::one_minus_sqrt}};
};

template <class E>
std::string_view enum_name(E value) {
  for (const auto& [name, named] : EnumNames<E>::all)
    if (named == value) return name;
  return "";
}

template <class E>
requires(std::is_enum_v<E>) struct Codec<E> {
  static std::vector<std::string> choices() {
    std::vector<std::string> names;
    for (const auto& [name, value] : EnumNames<E>::all) names.emplace_back(name);
    return names;
  }
  static std::string type() {
    std::string words;
    for (const std::string& name : choices()) words += (words.empty() ? "" : " | ") + name;
    return words;
  }
  static std::optional<E> read(const YamlNode& node) {
    if (node.kind != YamlNode::Kind::text) return {};
    for (const auto& [name, value] : EnumNames<E>::all)
      if (node.text == name) return value;
    return {};
  }
  static std::string write(E value) { return std::string(enum_name(value)); }
};

}  // namespace mora
