// The part of YAML that a configuration needs, as a bounded tree that remembers its lines: mappings, lists, texts and
// null. Anchors, aliases, tags and further documents are errors, so nothing in a file can refer to or multiply anything
// else, and each plain text keeps its spelling: what `no`, `010` or `1e-4` means is decided by the key it is given to.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace mora {

struct YamlEntry;

struct YamlNode {
  enum class Kind { null, text, list, map };

  Kind kind = Kind::null;
  bool quoted = false;             // a text written in quotes (or as a block) is never a number
  std::string text;                // of a text
  std::vector<YamlNode> items;     // of a list
  std::vector<YamlEntry> entries;  // of a map, in the order of the file
  std::string where;               // "config.yaml:3", or the word of the command line
  bool overrides = false;          // it came from the command line

  const YamlNode* find(std::string_view key) const;  // null where a map has no such key
};

struct YamlEntry {
  std::string key;
  YamlNode value;
  std::string where;  // of the key
};

// A text from outside as an error may show it: on one line, cut where it is long.
std::string shown(std::string_view text);

// Parses one document; empty text is null. Throws ConfigError "SOURCE:LINE: …" for malformed YAML, more than 32 levels,
// a repeated key, a tab in the indentation, an anchor, alias or tag, a second document, and bytes that are no UTF-8
// text.
YamlNode parse_yaml(std::string_view text, std::string_view source);

// Lays `word` = "a.b=value" over the tree, the value in YAML; maps on the way are made where there are none.
void apply_override(YamlNode& root, const std::string& word);

}  // namespace mora
