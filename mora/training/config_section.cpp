#include "mora/training/config_section.h"

#include <fmt/ranges.h>

#include "engine/error.h"
#include "loaders/nearest.h"

namespace mora {

std::string shown(const YamlNode& node) {
  switch (node.kind) {
    case YamlNode::Kind::null: return "null";
    case YamlNode::Kind::list: return node.items.empty() ? "an empty list" : "a list";
    case YamlNode::Kind::map: return "a mapping";
    case YamlNode::Kind::text: break;
  }
  const std::string text = fmt::format("'{}'", shown(node.text));
  if (node.quoted) return text + " in quotes, which is a text";
  if (node.text.size() > 1 && node.text[0] == '0' && std::isdigit(static_cast<unsigned char>(node.text[1])))
    return text + " (a leading zero: octal to some readers, so write it without)";
  return text;
}

void Reading::refuse_unknown(const YamlEntry& entry, const std::string& path,
                             const std::vector<std::string>& siblings) const {
  std::string wanted = path + entry.key;  // of a section, its first key: the nearest one is then clear
  for (const YamlNode* node = &entry.value; !node->entries.empty(); node = &node->entries.front().value)
    wanted += "." + node->entries.front().key;
  std::vector<std::string> paths;
  for (const OptionDoc& option : options) paths.push_back(option.path);

  std::string nearest = path.empty() ? nearest_name(wanted, paths) : "";
  if (nearest.empty()) {
    nearest = nearest_name(entry.key, siblings);
    if (!nearest.empty()) nearest = path + nearest;
  }
  for (size_t i = 0; nearest.empty() && i < paths.size(); ++i)  // the right key in the wrong section
    if (paths[i].ends_with(fmt::format(".{}", entry.key))) nearest = paths[i];

  const std::string problem = fmt::format("{}: unknown key '{}'", entry.where, shown(wanted));
  require<ConfigError>(!nearest.empty(), "{}; known here: {}", problem, fmt::join(siblings, ", "));
  const auto option = std::find(paths.begin(), paths.end(), nearest) - paths.begin();
  require<ConfigError>(option < std::ssize(paths), "{}; did you mean '{}'?", problem, nearest);
  const OptionDoc& row = options[static_cast<size_t>(option)];
  fail<ConfigError>("{}; did you mean '{}'? ({}; default {})", problem, nearest, row.type, row.fallback);
}

Check<std::string> one_of(std::initializer_list<std::string_view> choices) {
  std::vector<std::string> names(choices.begin(), choices.end());
  std::string words = fmt::format("{}", fmt::join(names, " | "));
  auto holds = [names](const std::string& value) {
    return std::find(names.begin(), names.end(), value) != names.end();
  };
  return {std::move(words), std::move(holds), std::move(names)};
}

void refuse_value(const YamlNode& node, const std::string& path, const std::string& type,
                  const std::vector<std::string>& choices) {
  const std::string nearest = node.kind == YamlNode::Kind::text ? nearest_name(node.text, choices) : "";
  fail<ConfigError>("{}: {}expected {}, got {}{}", node.where, path.empty() ? "" : fmt::format("{}: ", path), type,
                    shown(node), nearest.empty() ? "" : fmt::format("; did you mean '{}'?", nearest));
}

void refuse_both(const YamlNode& node, const std::string& one, const std::string& other) {
  fail<ConfigError>("{}: {} and {} exclude each other; keep one", node.where, one, other);
}

void refuse_missing(const YamlNode& map, const std::string& path, const std::string& meaning) {
  fail<ConfigError>("{}: {} is missing: {}", map.where, path, meaning);
}

}  // namespace mora
