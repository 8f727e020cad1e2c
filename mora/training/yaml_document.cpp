#include "mora/training/yaml_document.h"

#include <fmt/format.h>
#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/parser.h>

#include <algorithm>
#include <map>
#include <sstream>

#include "engine/error.h"
#include "loaders/utf8.h"

namespace mora {
namespace {

constexpr size_t kMaxDepth = 32;

// Says where something stands: a line of a file, or a word of the command line, which has no lines.
struct Source {
  std::string_view name;
  bool has_lines;
  std::string at(int line) const { return has_lines ? fmt::format("{}:{}", name, line + 1) : std::string(name); }
};

// Builds the tree from yaml-cpp's events. The open maps and lists stand on `open_`, outermost first.
class TreeBuilder : public YAML::EventHandler {
 public:
  explicit TreeBuilder(Source source) : source_(source) {}

  YamlNode take() { return std::move(root_); }

  void OnDocumentStart(const YAML::Mark&) override {}
  void OnDocumentEnd() override {}
  void OnSequenceEnd() override { close(); }
  void OnMapEnd() override { close(); }

  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override { add(mark, anchor, {}); }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t) override { refuse_reference(mark); }
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    if (tag != "?" && tag != "!") refuse_tag(mark, tag);
    YamlNode node;
    node.kind = YamlNode::Kind::text;
    node.quoted = tag == "!";
    node.text = value;
    add(mark, anchor, std::move(node));
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    open(mark, tag, anchor, YamlNode::Kind::list);
  }
  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    open(mark, tag, anchor, YamlNode::Kind::map);
  }

 private:
  struct Open {
    YamlNode node;
    std::string key, key_where;
    bool has_key = false;                     // a map that has read a key and waits for its value
    std::map<std::string, std::string> seen;  // the keys of a map and where they stand
  };

  void open(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor, YamlNode::Kind kind) {
    if (anchor != 0) refuse_reference(mark);
    if (!tag.empty() && tag != "?" && tag != "!") refuse_tag(mark, tag);
    require<ConfigError>(open_.size() < kMaxDepth, "{}: nested deeper than {} levels", source_.at(mark.line),
                         kMaxDepth);
    if (waits_for_key())
      fail<ConfigError>("{}: a key must be a plain word; is a bracket not closed?", source_.at(mark.line));
    open_.emplace_back();
    open_.back().node.kind = kind;
    open_.back().node.where = source_.at(mark.line);
  }

  void close() {
    YamlNode done = std::move(open_.back().node);
    open_.pop_back();
    attach(std::move(done));
  }

  void add(const YAML::Mark& mark, YAML::anchor_t anchor, YamlNode node) {
    if (anchor != 0) refuse_reference(mark);
    node.where = source_.at(mark.line);
    if (!waits_for_key()) return attach(std::move(node));
    Open& map = open_.back();
    require<ConfigError>(node.kind == YamlNode::Kind::text, "{}: a key must be a plain word; is a bracket not closed?",
                         node.where);
    const auto [first, fresh] = map.seen.emplace(node.text, node.where);
    require<ConfigError>(fresh, "{}: key '{}' is given twice, first at {}", node.where, shown(node.text),
                         first->second);
    map.key = std::move(node.text);
    map.key_where = std::move(node.where);
    map.has_key = true;
  }

  void attach(YamlNode node) {
    if (open_.empty()) {
      root_ = std::move(node);
      return;
    }
    Open& parent = open_.back();
    if (parent.node.kind == YamlNode::Kind::list) {
      parent.node.items.push_back(std::move(node));
    } else {
      parent.node.entries.push_back({std::move(parent.key), std::move(node), std::move(parent.key_where)});
      parent.has_key = false;
    }
  }

  bool waits_for_key() const {
    return !open_.empty() && open_.back().node.kind == YamlNode::Kind::map && !open_.back().has_key;
  }

  [[noreturn]] void refuse_reference(const YAML::Mark& mark) const {
    fail<ConfigError>("{}: anchors and aliases (& and *) are not read here; write the value out, or quote the text",
                      source_.at(mark.line));
  }
  [[noreturn]] void refuse_tag(const YAML::Mark& mark, const std::string& tag) const {
    fail<ConfigError>("{}: tag '{}' is not read here; leave it out, each key knows its own type", source_.at(mark.line),
                      shown(tag));
  }

  Source source_;
  std::vector<Open> open_;
  YamlNode root_;
};

// What yaml-cpp takes but nobody can mean: bytes that are no text, and tabs where the indentation says the structure.
void check_characters(std::string_view text, Source source) {
  int line = 0;
  bool indentation = true;
  for (char c : text) {
    if (c == '\t' && indentation) fail<ConfigError>("{}: a tab in the indentation; use spaces", source.at(line));
    if (c != ' ') indentation = false;
    const auto byte = static_cast<unsigned char>(c);
    if ((byte < 0x20 && c != '\t' && c != '\n' && c != '\r') || byte == 0x7f)
      fail<ConfigError>("{}: control character 0x{:02x}; is this a text file?", source.at(line), byte);
    if (c == '\n') {
      ++line;
      indentation = true;
    }
  }
  require<ConfigError>(replace_invalid_utf8(text) == text, "{}: not UTF-8 text", source.name);
}

YamlNode null_override(const std::string& word) {
  YamlNode node;
  node.where = word;
  node.overrides = true;
  return node;
}

void mark_override(YamlNode& node) {
  node.overrides = true;
  for (YamlNode& item : node.items) mark_override(item);
  for (YamlEntry& entry : node.entries) mark_override(entry.value);
}

YamlNode parse(std::string_view text, Source source) {
  check_characters(text, source);
  TreeBuilder builder(source);
  try {
    std::istringstream stream{std::string(text)};
    YAML::Parser parser(stream);
    YamlNode root;
    if (parser.HandleNextDocument(builder)) root = builder.take();
    TreeBuilder second(source);
    require<ConfigError>(!parser.HandleNextDocument(second), "{}: a second document ('---'); keep one", source.name);
    return root;
  } catch (const YAML::Exception& error) {
    fail<ConfigError>("{}: not YAML: {}", source.at(error.mark.line), error.msg);
  }
}

}  // namespace

const YamlNode* YamlNode::find(std::string_view key) const {
  for (const YamlEntry& entry : entries)
    if (entry.key == key) return &entry.value;
  return nullptr;
}

std::string shown(std::string_view text) {
  constexpr size_t kLongest = 60;
  std::string result;
  for (char c : text.substr(0, kLongest)) {
    const auto byte = static_cast<unsigned char>(c);
    result += byte < 0x20 || byte == 0x7f ? fmt::format("\\x{:02x}", byte) : std::string(1, c);
  }
  return replace_invalid_utf8(result) + (text.size() > kLongest ? "…" : "");
}

YamlNode parse_yaml(std::string_view text, std::string_view source) { return parse(text, {source, true}); }

void apply_override(YamlNode& root, const std::string& word) {
  const size_t equals = word.find('=');
  require<ConfigError>(equals != std::string::npos && equals > 0, "{}: expected KEY=VALUE, such as optimizer.lr=1e-4",
                       word);
  YamlNode value = parse(std::string_view(word).substr(equals + 1), {word, false});  // "key=" is null, as "key:" is
  value.where = word;
  mark_override(value);

  YamlNode* map = &root;
  for (size_t begin = 0;;) {
    const size_t dot = std::min(word.find('.', begin), equals);
    const std::string key = word.substr(begin, dot - begin);
    if (map->kind == YamlNode::Kind::null) map->kind = YamlNode::Kind::map;
    require<ConfigError>(map->kind == YamlNode::Kind::map, "{}: '{}' has no keys of its own", word,
                         word.substr(0, begin == 0 ? 0 : begin - 1));
    auto entry =
        std::find_if(map->entries.begin(), map->entries.end(), [&](const YamlEntry& e) { return e.key == key; });
    if (entry == map->entries.end()) entry = map->entries.insert(map->entries.end(), {key, null_override(word), word});
    map = &entry->value;
    if (dot == equals) break;
    begin = dot + 1;
  }
  *map = std::move(value);
}

}  // namespace mora
