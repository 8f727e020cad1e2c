#include "loaders/chat_template/json_value.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "loaders/chat_template/builtins.h"
#include "loaders/json.h"

namespace mora::jinja {
namespace {

using nlohmann::json;

// Builds a value out of the events of a text that parse_json has accepted: valid, no key twice, nesting bounded.
class Builder {
 public:
  bool null() { return add(Value()); }
  bool boolean(bool value) { return add(value); }
  bool number_integer(int64_t value) { return add(value); }
  bool number_unsigned(uint64_t value) {
    return value > INT64_MAX ? add(static_cast<double>(value)) : add(static_cast<int64_t>(value));
  }
  bool number_float(double value, const std::string&) { return add(value); }
  bool string(std::string& value) { return add(std::move(value)); }
  bool binary(json::binary_t&) { return false; }
  bool start_object(size_t) { return open(true); }
  bool start_array(size_t) { return open(false); }
  bool key(std::string& name) {
    open_.back().key = std::move(name);
    return true;
  }
  bool end_object() { return close(); }
  bool end_array() { return close(); }
  bool parse_error(size_t, const std::string&, const json::exception&) { return false; }

  Value take() { return std::move(root_); }

 private:
  struct Open {
    bool object;
    Dict dict;
    List list;
    std::string key;
  };

  bool open(bool object) {
    open_.push_back({object, {}, {}, {}});
    return true;
  }

  bool add(Value value) {
    if (open_.empty()) {
      root_ = std::move(value);
    } else if (open_.back().object) {
      open_.back().dict.set(std::move(open_.back().key), std::move(value));
    } else {
      open_.back().list.items.push_back(std::move(value));
    }
    return true;
  }

  bool close() {
    Open done = std::move(open_.back());
    open_.pop_back();
    return add(done.object ? Value(std::move(done.dict)) : Value(std::move(done.list)));
  }

  std::vector<Open> open_;
  Value root_;
};

class Writer {
 public:
  Writer(const JsonStyle& style, Budget& budget) : style_(style), budget_(budget) {}

  void write(const Value& value) {
    budget_.step();
    const size_t before = out_.size();
    if (const List* list = value.list()) {
      write_items('[', ']', list->items, [&](const Value& item_value) { write(item_value); });
    } else if (const Dict* dict = value.dict()) {
      write_dict(*dict);
    } else {
      out_ += scalar(value);
      budget_.charge(out_.size() - before);
    }
  }

  std::string take() { return std::move(out_); }

 private:
  static std::string scalar(const Value& value) {
    if (const std::string* text = value.string()) return json(*text).dump();
    if (value.is_none()) return "null";
    if (const bool* boolean = value.boolean()) return *boolean ? "true" : "false";
    if (const int64_t* integer = value.integer()) return std::to_string(*integer);
    if (const double* floating = value.floating()) {
      const std::string text = float_text(*floating);
      return text == "nan" ? "NaN" : text == "inf" ? "Infinity" : text == "-inf" ? "-Infinity" : text;
    }
    throw EvalError{fmt::format("tojson: a value of type '{}' has no JSON", type_name(value))};
  }

  void new_line() {
    if (!style_.indent) return;
    budget_.charge(1 + level_ * style_.indent->size());
    out_ += '\n';
    for (size_t i = 0; i < level_; ++i) out_ += *style_.indent;
  }

  template <class Items, class Write>
  void write_items(char open, char close, const Items& items, Write write_item) {
    out_ += open;
    ++level_;
    bool first = true;
    for (const auto& each : items) {
      budget_.charge(style_.item_separator.size());
      if (!first) out_ += style_.item_separator;
      new_line();
      write_item(each);
      first = false;
    }
    --level_;
    if (!first) new_line();
    out_ += close;
  }

  void write_dict(const Dict& dict) {
    std::vector<const std::pair<std::string, Value>*> items;
    budget_.charge_items(dict.items.size());
    for (const auto& each : dict.items) items.push_back(&each);
    if (style_.sort_keys)
      std::sort(items.begin(), items.end(), [](const auto* a, const auto* b) { return a->first < b->first; });
    write_items('{', '}', items, [&](const auto* each) {
      const std::string key = json(each->first).dump() + style_.key_separator;
      budget_.charge(key.size());
      out_ += key;
      write(each->second);
    });
  }

  const JsonStyle& style_;
  Budget& budget_;
  size_t level_ = 0;
  std::string out_;
};

}  // namespace

Value json_value(std::string_view text, std::string_view source) {
  parse_json(text, source);
  Builder builder;
  json::sax_parse(text, &builder);
  return builder.take();
}

std::string to_json(const Value& value, const JsonStyle& style, Budget& budget) {
  Writer writer(style, budget);
  writer.write(value);
  return writer.take();
}

}  // namespace mora::jinja
