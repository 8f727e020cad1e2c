// .jsonl: a JSON object a line.
#include <nlohmann/json.hpp>

#include "engine/error.h"
#include "loaders/json.h"
#include "loaders/record_format.h"
#include "loaders/utf8.h"

namespace mora {
namespace {

using nlohmann::json;

size_t skip_spaces(std::string_view text, size_t at) {
  return std::min(text.find_first_not_of(" \t\r\n", at), text.size());
}

// One past the string that opens at `at`. The text is valid JSON.
size_t string_end(std::string_view text, size_t at) {
  for (++at; text[at] != '"'; ++at)
    if (text[at] == '\\') ++at;
  return at + 1;
}

// One past the value that begins at `at`. The text is valid JSON.
size_t value_end(std::string_view text, size_t at) {
  int depth = 0;
  do {
    if (text[at] == '"') {
      at = string_end(text, at);
      continue;
    }
    if (text[at] == '{' || text[at] == '[') ++depth;
    if (text[at] == '}' || text[at] == ']') --depth;
    ++at;
  } while (depth > 0);
  return at;
}

// The text of member `name`, an array or object, of the object `text`: as it is written, for the order of its keys. The
// text is valid JSON and has the member.
std::string_view member_text(std::string_view text, const std::string& name) {
  size_t at = skip_spaces(text, 0);  // the opening brace
  while (true) {
    at = skip_spaces(text, at + 1);
    const size_t key = at;
    at = string_end(text, at);
    const std::string key_name = json::parse(text.substr(key, at - key));
    at = skip_spaces(text, skip_spaces(text, at) + 1);  // over the colon
    const bool nested = text[at] == '{' || text[at] == '[';
    const size_t end = nested || text[at] == '"' ? value_end(text, at) : text.find_first_of(",}", at);
    if (key_name == name) return text.substr(at, end - at);
    at = skip_spaces(text, end);  // the comma
  }
}

Field to_field(const std::string& name, const json& value, std::string_view line) {
  using Kind = Field::Kind;
  switch (value.type()) {
    case json::value_t::string: return {name, Kind::string, value.get<std::string>()};
    case json::value_t::boolean: return {name, Kind::boolean, value.dump()};
    case json::value_t::number_integer:
    case json::value_t::number_unsigned: return {name, Kind::integer, value.dump()};
    case json::value_t::number_float: return {name, Kind::number, value.dump()};
    case json::value_t::object:
    case json::value_t::array: return {name, Kind::json, std::string(member_text(line, name))};
    default: return {name, Kind::null, "null"};
  }
}

class Jsonl : public RecordFormat {
 public:
  Jsonl(const DataFile& file, const DataOptions& options) : file_(file), options_(options) {}

  bool next(LineReader& lines, Record& record) const override { return next_line(lines, record); }

  std::vector<Field> decode(Record& record) const override {
    const json object = parse(record);
    std::vector<Field> fields;
    for (const std::string& name : options_.columns) {
      const auto member = object.find(name);
      if (member == object.end())
        fail<IoError>("{}:{}: {}", file_.path(), record.line,
                      missing_column(name, keys(object), "each object needs it"));
      fields.push_back(to_field(name, *member, record.text));
    }
    for (const std::string& name : options_.optional) {
      const auto member = object.find(name);
      if (member == object.end()) {
        fields.push_back({name, Field::Kind::missing, ""});
      } else {
        fields.push_back(to_field(name, *member, record.text));
      }
    }
    return fields;
  }

  std::vector<std::string> names(Record& record) const override { return keys(parse(record)); }

 private:
  static std::vector<std::string> keys(const json& object) {
    std::vector<std::string> keys;
    for (const auto& [key, value] : object.items()) keys.push_back(key);
    return keys;
  }

  json parse(Record& record) const {
    record.text = replace_invalid_utf8(record.text);
    const std::string where = fmt::format("{}:{}", file_.path(), record.line);
    json value;
    try {
      value = parse_json(record.text, where);
    } catch (const IoError& error) {
      const std::string prefix = where + ": line 1: ";
      const std::string_view what = error.what();
      if (!what.starts_with(prefix)) throw;
      const std::string_view problem = what.substr(prefix.size());
      const char* hint = !record.ended                         ? "; the last record seems to be cut short"
                         : problem.starts_with("syntax error") ? "; each line is a JSON object"
                                                               : "";
      fail<IoError>("{}: {}{}", where, problem, hint);
    }
    require<IoError>(value.is_object(), "{}: each line is an object, this one is {} {}", where,
                     value.is_array() ? "an" : "a", value.type_name());
    return value;
  }

  const DataFile& file_;
  DataOptions options_;
};

}  // namespace

std::unique_ptr<RecordFormat> open_jsonl(const DataFile& file, const DataOptions& options) {
  return std::make_unique<Jsonl>(file, options);
}

}  // namespace mora
