// A section of the configuration: the table of its keys, typed, from which come reading, writing, advice and
// documentation.
//
//   Section<SamConfig> sam = Section<SamConfig>()
//       .key("rho", &SamConfig::rho, "radius of the perturbation", positive())
#pragma once

#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "mora/training/config_values.h"
#include "mora/training/yaml_document.h"

namespace mora {

// One row of the documentation.
struct OptionDoc {
  std::string path, type, fallback, meaning;
};

// What a whole reading shares: the documentation, for advice, and where each key stood, for errors found afterwards.
struct Reading {
  const std::vector<OptionDoc>& options;
  std::map<std::string, std::string> places;

  [[noreturn]] void refuse_unknown(const YamlEntry& entry, const std::string& path,
                                   const std::vector<std::string>& siblings) const;
};

// Throws: `node`, given for `path`, is not of `type`; the nearest of the choices is named.
[[noreturn]] void refuse_value(const YamlNode& node, const std::string& path, const std::string& type,
                               const std::vector<std::string>& choices);
[[noreturn]] void refuse_both(const YamlNode& node, const std::string& one, const std::string& other);
[[noreturn]] void refuse_missing(const YamlNode& map, const std::string& path, const std::string& meaning);

// "got …" for an error: what stands there, with a word on the traps of YAML.
std::string shown(const YamlNode& node);

template <class T>
struct Bare {
  using type = T;
};
template <class T>
struct Bare<std::optional<T>> {
  using type = T;
};

// A condition on a value; `words` follow its type ("an integer" + " of at least 1"), or, for a choice, replace it.
template <class T>
struct Check {
  std::string words;
  std::function<bool(const T&)> holds;
  std::vector<std::string> choices;
};

Check<std::string> one_of(std::initializer_list<std::string_view> choices);

template <class S>
class Section {
 public:
  // A value.
  template <class T>
  Section& key(std::string_view name, T S::*member, std::string_view meaning,
               Check<typename Bare<T>::type> check = {}) {
    constexpr bool nullable = !std::is_same_v<T, typename Bare<T>::type>;
    if constexpr (std::is_enum_v<typename Bare<T>::type>) check.choices = Codec<typename Bare<T>::type>::choices();
    std::string type = check.words.empty() || check.words[0] == ' ' ? Codec<T>::type() + check.words : check.words;
    if (nullable) type += ", or null";
    Field field{.name = std::string(name), .meaning = std::string(meaning)};
    field.read = [member, type, check](S& section, const YamlNode& node, const std::string& path, Reading&) {
      std::optional<T> value = Codec<T>::read(node);
      if (!value || !satisfies(*value, check)) refuse_value(node, path, type, check.choices);
      section.*member = std::move(*value);
    };
    field.write = [member](const S& section, int) { return " " + Codec<T>::write(section.*member) + "\n"; };
    field.describe = [member, type](const S& defaults, const OptionDoc& row, std::vector<OptionDoc>& rows) {
      rows.push_back(
          {row.path, type, row.fallback.empty() ? Codec<T>::write(defaults.*member) : row.fallback, row.meaning});
    };
    field.clear = [member](S& section) { section.*member = T{}; };
    fields_.push_back(std::move(field));
    return *this;
  }

  // One of a few names.
  Section& choice(std::string_view name, std::string S::*member, std::initializer_list<std::string_view> choices,
                  std::string_view meaning) {
    return key(name, member, meaning, one_of(choices));
  }

  // A mapping of its own.
  template <class T>
  Section& section(std::string_view name, T S::*member, Section<T> table, std::string_view meaning) {
    const auto keys = std::make_shared<const Section<T>>(std::move(table));
    Field field{.name = std::string(name), .meaning = std::string(meaning)};
    field.read = [member, keys](S& section, const YamlNode& node, const std::string& path, Reading& reading) {
      keys->read(section.*member, node, path, reading);
    };
    field.write = [member, keys](const S& section, int indent) {
      return "\n" + keys->write(section.*member, indent + 2);
    };
    field.describe = [member, keys](const S& defaults, const OptionDoc& row, std::vector<OptionDoc>& rows) {
      keys->describe(defaults.*member, row.path + ".", rows);
    };
    fields_.push_back(std::move(field));
    return *this;
  }

  // A mapping that may be absent.
  template <class T>
  Section& section(std::string_view name, std::optional<T> S::*member, Section<T> table, std::string_view meaning) {
    const auto keys = std::make_shared<const Section<T>>(std::move(table));
    Field field{.name = std::string(name), .meaning = std::string(meaning)};
    field.read = [member, keys](S& section, const YamlNode& node, const std::string& path, Reading& reading) {
      section.*member = std::nullopt;
      if (node.kind != YamlNode::Kind::null) keys->read((section.*member).emplace(), node, path, reading);
    };
    field.write = [member, keys](const S& section, int indent) {
      return section.*member ? "\n" + keys->write(*(section.*member), indent + 2) : " null\n";
    };
    field.describe = [keys](const S&, const OptionDoc& row, std::vector<OptionDoc>& rows) {
      rows.push_back({row.path, "a mapping, or null", "null", row.meaning});
      keys->describe(T{}, row.path + ".", rows);
    };
    field.clear = [member](S& section) { section.*member = std::nullopt; };
    fields_.push_back(std::move(field));
    return *this;
  }

  // A list of mappings.
  template <class T>
  Section& sections(std::string_view name, std::vector<T> S::*member, Section<T> table, std::string_view meaning) {
    const auto keys = std::make_shared<const Section<T>>(std::move(table));
    Field field{.name = std::string(name), .meaning = std::string(meaning)};
    field.read = [member, keys](S& section, const YamlNode& node, const std::string& path, Reading& reading) {
      (section.*member).clear();
      if (node.kind != YamlNode::Kind::list && node.kind != YamlNode::Kind::null)
        refuse_value(node, path, "a list of mappings", {});
      for (size_t i = 0; i < node.items.size(); ++i)
        keys->read((section.*member).emplace_back(), node.items[i], path + "[" + std::to_string(i) + "]", reading);
    };
    field.write = [member, keys](const S& section, int indent) {
      std::string text;
      for (const T& item : section.*member) {
        std::string lines = keys->write(item, indent + 4);
        lines.replace(static_cast<size_t>(indent) + 2, 2, "- ");
        text += lines;
      }
      return text.empty() ? " []\n" : "\n" + text;
    };
    field.describe = [keys](const S&, const OptionDoc& row, std::vector<OptionDoc>& rows) {
      rows.push_back({row.path, "a list of mappings", "[]", row.meaning});
      keys->describe(T{}, row.path + "[].", rows);
    };
    field.clear = [member](S& section) { (section.*member).clear(); };
    fields_.push_back(std::move(field));
    return *this;
  }

  // The last key has no default.
  Section& required() {
    fields_.back().required = true;
    return *this;
  }

  // At most one of two keys has a value: giving one clears the default of the other, and one of the command line
  // replaces one of the file.
  Section& exclusive(std::string_view one, std::string_view other) {
    exclusive_.emplace_back(one, other);
    return *this;
  }

  // Lays the values of `map` over `section`.
  void read(S& section, const YamlNode& map, const std::string& path, Reading& reading) const {
    if (map.kind != YamlNode::Kind::map && (map.kind != YamlNode::Kind::null || !path.empty()))
      refuse_value(map, path, "a mapping", {});
    const std::string prefix = path.empty() ? "" : path + ".";
    std::vector<std::string> replaced;
    for (const auto& [one, other] : exclusive_) settle(section, map, prefix, one, other, replaced);
    for (const YamlEntry& entry : map.entries) {
      const Field* field = find(entry.key);
      if (field == nullptr) reading.refuse_unknown(entry, prefix, names());
      if (std::find(replaced.begin(), replaced.end(), entry.key) != replaced.end()) continue;
      reading.places[prefix + entry.key] = entry.value.where;
      field->read(section, entry.value, prefix + entry.key, reading);
    }
    for (const Field& field : fields_)
      if (field.required && map.find(field.name) == nullptr) refuse_missing(map, prefix + field.name, field.meaning);
  }

  std::string write(const S& section, int indent) const {
    std::string text;
    for (const Field& field : fields_)
      text += std::string(static_cast<size_t>(indent), ' ') + field.name + ":" + field.write(section, indent);
    return text;
  }

  void describe(const S& defaults, const std::string& prefix, std::vector<OptionDoc>& rows) const {
    for (const Field& field : fields_)
      field.describe(defaults, {prefix + field.name, {}, field.required ? "required" : "", field.meaning}, rows);
  }

 private:
  struct Field {
    std::string name, meaning;
    bool required = false;
    std::function<void(S&, const YamlNode&, const std::string& path, Reading&)> read{};
    std::function<std::string(const S&, int indent)> write{};  // what follows "name:"
    std::function<void(const S& defaults, const OptionDoc& row, std::vector<OptionDoc>&)> describe{};
    std::function<void(S&)> clear{};
  };

  template <class T>
  static bool satisfies(const T& value, const Check<typename Bare<T>::type>& check) {
    if (!check.holds) return true;
    if constexpr (std::is_same_v<T, typename Bare<T>::type>)
      return check.holds(value);
    else
      return !value || check.holds(*value);
  }

  void settle(S& section, const YamlNode& map, const std::string& prefix, const std::string& one,
              const std::string& other, std::vector<std::string>& replaced) const {
    const auto given = [&](const std::string& name) {
      const YamlNode* node = map.find(name);
      const bool empty = node == nullptr || node->kind == YamlNode::Kind::null ||
                         (node->kind == YamlNode::Kind::list && node->items.empty());
      return empty ? nullptr : node;
    };
    const YamlNode *first = given(one), *second = given(other);
    if (first != nullptr && second != nullptr) {
      if (first->overrides == second->overrides) refuse_both(*second, prefix + one, prefix + other);
      replaced.push_back(first->overrides ? other : one);
    }
    const bool second_wins = second != nullptr && (first == nullptr || second->overrides);
    if (first != nullptr || second != nullptr) find(second_wins ? one : other)->clear(section);
  }

  const Field* find(std::string_view name) const {
    for (const Field& field : fields_)
      if (field.name == name) return &field;
    return nullptr;
  }

  std::vector<std::string> names() const {
    std::vector<std::string> result;
    for (const Field& field : fields_) result.push_back(field.name);
    return result;
  }

  std::vector<Field> fields_;
  std::vector<std::pair<std::string, std::string>> exclusive_;
};

}  // namespace mora
