// The values of a chat template: Python's, as far as templates see them. All but a namespace are immutable and shared,
// so that a copy is cheap and no template can make a cycle.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

namespace mora::jinja {

// What went wrong in an expression; the interpreter adds the line.
struct EvalError {
  std::string message;
};

struct List;
struct Dict;
struct Namespace;
struct Loop;
struct Callable;

class Value {
 public:
  struct Undefined {
    std::string why;  // "'x' is undefined": the error of using it as anything but nothing
  };
  struct None {};
  using Storage = std::variant<Undefined, None, bool, int64_t, double, std::shared_ptr<const std::string>,
                               std::shared_ptr<const List>, std::shared_ptr<const Dict>, std::shared_ptr<Namespace>,
                               std::shared_ptr<const Loop>, std::shared_ptr<const Callable>>;

  Value() : storage_(None{}) {}
  Value(bool value) : storage_(value) {}
  Value(int64_t value) : storage_(value) {}
  Value(double value) : storage_(value) {}
  Value(std::string value) : storage_(std::make_shared<const std::string>(std::move(value))) {}
  Value(std::string_view value) : Value(std::string(value)) {}
  Value(const char* value) : Value(std::string(value)) {}
  Value(List list);
  Value(Dict dict);
  Value(std::shared_ptr<Namespace> value) : storage_(std::move(value)) {}
  Value(std::shared_ptr<const Loop> value) : storage_(std::move(value)) {}
  Value(Callable callable);
  static Value undefined(std::string why);

  bool is_undefined() const { return std::holds_alternative<Undefined>(storage_); }
  bool is_none() const { return std::holds_alternative<None>(storage_); }
  bool is_number() const;  // an integer, a float or a boolean, as in Python

  const bool* boolean() const { return std::get_if<bool>(&storage_); }
  const int64_t* integer() const { return std::get_if<int64_t>(&storage_); }
  const double* floating() const { return std::get_if<double>(&storage_); }
  const std::string* string() const { return pointer<const std::string>(); }
  const List* list() const { return pointer<const List>(); }
  const Dict* dict() const { return pointer<const Dict>(); }
  Namespace* name_space() const { return pointer<Namespace>(); }
  std::shared_ptr<Namespace> shared_name_space() const;
  const Loop* loop() const { return pointer<const Loop>(); }
  const Callable* callable() const { return pointer<const Callable>(); }
  const Undefined* missing() const { return std::get_if<Undefined>(&storage_); }

 private:
  template <class T>
  T* pointer() const {
    const auto* held = std::get_if<std::shared_ptr<T>>(&storage_);
    return held ? held->get() : nullptr;
  }

  Storage storage_;
};

struct List {
  std::vector<Value> items;
  bool tuple = false;
  int depth = 0;  // of containers inside; set by Value
};

// Ordered by insertion; the keys are strings.
struct Dict {
  std::vector<std::pair<std::string, Value>> items;
  int depth = 0;  // as of a list

  const Value* find(std::string_view key) const;
  void set(std::string key, Value value);

 private:
  std::unordered_map<std::string, size_t> places_;  // of the keys in items
};

// The one thing a template can change: {% set ns.x = … %}. Owned by the interpreter, which empties it at the end.
struct Namespace {
  std::map<std::string, Value, std::less<>> attributes;
};

// `loop` inside a for loop, at one of its items.
struct Loop {
  std::shared_ptr<const std::vector<Value>> items;
  size_t index = 0;  // from 0
};

struct Arguments {
  std::vector<Value> positional;
  std::vector<std::pair<std::string, Value>> named;
};

// Bounds what a template may use up, whatever it says. Throws EvalError.
class Budget {
 public:
  static constexpr int64_t kMaxSteps = 20'000'000;
  static constexpr int64_t kMaxBytes = int64_t{128} << 20;  // of all values ever made, and of the output

  // One node of the template or item of a value; or the time to go over `bytes` of text.
  void step(size_t bytes = 0) {
    steps_ += 1 + static_cast<int64_t>(bytes / 1024);
    if (steps_ > kMaxSteps) throw EvalError{"the template takes too many steps"};
  }
  void charge(size_t bytes);  // before or while the bytes are made
  void charge_items(size_t items) { charge(items * sizeof(Value)); }

 private:
  int64_t steps_ = 0;
  int64_t bytes_ = 0;
};

struct Callable {
  std::string name;
  std::function<Value(Budget&, const Arguments&)> call;
};

std::string_view type_name(const Value& value);  // Python's: "str", "NoneType", …
bool truthy(const Value& value);
bool equal(const Value& a, const Value& b, Budget& budget);
// Less than, for <, sort, min and max. EvalError for types that have no order.
bool less(const Value& a, const Value& b, Budget& budget);
bool contains(const Value& container, const Value& item, Budget& budget);
int64_t length(const Value& value);
// What a for loop goes through: a list's items, a dict's keys, a string's characters; nothing for undefined.
std::vector<Value> iterate(const Value& value, Budget& budget);

// The number's value; EvalError with `what` in it unless a number.
double as_double(const Value& value, std::string_view what);
int64_t as_integer(const Value& value, std::string_view what);  // an integer or a boolean
const std::string& as_string(const Value& value, std::string_view what);

// str(): what {{ … }} prints; undefined prints nothing.
std::string to_text(const Value& value, Budget& budget);
std::string float_text(double value);  // repr of a Python float

}  // namespace mora::jinja
