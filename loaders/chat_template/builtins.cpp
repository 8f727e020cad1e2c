#include "loaders/chat_template/builtins.h"

#include <fmt/format.h>

#include <algorithm>
#include <ctime>

#include "loaders/chat_template/python_text.h"

namespace mora::jinja {
namespace {

Value no_attribute(const Value& value, std::string_view name) {
  return Value::undefined(fmt::format("a value of type '{}' has no attribute '{}'", type_name(value), name));
}

Value cycle(const Value& self, const Arguments& arguments) {
  if (arguments.positional.empty()) throw EvalError{"loop.cycle: nothing to choose from"};
  return arguments.positional[self.loop()->index % arguments.positional.size()];
}

Value loop_attribute(const Value& value, const std::string& name) {
  const Loop& loop = *value.loop();
  const auto index = static_cast<int64_t>(loop.index), size = static_cast<int64_t>(loop.items->size());
  if (name == "index") return index + 1;
  if (name == "index0") return index;
  if (name == "revindex") return size - index;
  if (name == "revindex0") return size - index - 1;
  if (name == "first") return index == 0;
  if (name == "last") return index + 1 == size;
  if (name == "length") return size;
  if (name == "depth") return int64_t{1};
  if (name == "depth0") return int64_t{0};
  if (name == "previtem")
    return index > 0 ? (*loop.items)[loop.index - 1] : Value::undefined("there is no previous item");
  if (name == "nextitem")
    return index + 1 < size ? (*loop.items)[loop.index + 1] : Value::undefined("there is no next item");
  if (name == "cycle")
    return Callable{name, [value](Budget&, const Arguments& arguments) { return cycle(value, arguments); }};
  return no_attribute(value, name);
}

const Value* entry(const Value& value, const std::string& name) {
  if (value.dict()) return value.dict()->find(name);
  if (const Namespace* space = value.name_space()) {
    const auto found = space->attributes.find(name);
    return found == space->attributes.end() ? nullptr : &found->second;
  }
  return nullptr;
}

Value sequence_item(const Value& value, int64_t index, Budget& budget) {
  const int64_t size = length(value), at = index < 0 ? index + size : index;
  if (at < 0 || at >= size) return Value::undefined(fmt::format("there is no item {} in {}", index, size));
  if (const List* list = value.list()) return list->items[static_cast<size_t>(at)];
  budget.step(value.string()->size());
  return slice_points(*value.string(), at, at + 1);
}

Value range(Budget& budget, const Arguments& arguments) {
  constexpr int64_t kMaxItems = 100'000;  // as in Jinja's sandbox
  const Parameters p("range", arguments, {"start", "stop", "step"}, 1);
  const int64_t start = p[1] ? p.integer(0, 0) : 0, stop = p[1] ? p.integer(1, 0) : p.integer(0, 0),
                step = p.integer(2, 1);
  if (step == 0) throw EvalError{"range: the step is zero"};
  List list;
  for (int64_t at = start; step > 0 ? at < stop : at > stop;) {
    if (static_cast<int64_t>(list.items.size()) == kMaxItems) throw EvalError{"range: more than 100000 numbers"};
    budget.charge_items(1);
    list.items.emplace_back(at);
    if (__builtin_add_overflow(at, step, &at)) break;
  }
  return list;
}

// dict(pairs, name=value …) and namespace(…).
Dict make_dict(Budget& budget, const Arguments& arguments) {
  Dict dict;
  if (arguments.positional.size() > 1) throw EvalError{"dict: at most one value by position"};
  if (!arguments.positional.empty()) {
    const Value& from = arguments.positional[0];
    if (from.dict()) {
      budget.charge_items(4 * from.dict()->items.size());
      dict = *from.dict();
    } else {
      for (const Value& pair : iterate(from, budget)) {
        if (!pair.list() || pair.list()->items.size() != 2)
          throw EvalError{"dict: expected pairs of a key and a value"};
        dict.set(as_string(pair.list()->items[0], "a dict's key"), pair.list()->items[1]);
      }
    }
  }
  for (const auto& [name, value] : arguments.named) dict.set(name, value);
  return dict;
}

Value make_namespace(Budget& budget, const Arguments& arguments) {
  auto space = std::make_shared<Namespace>();
  const Dict dict = make_dict(budget, arguments);
  for (const auto& [name, value] : dict.items) {
    if (name.starts_with('_')) throw EvalError{fmt::format("a namespace has no attribute '{}'", name)};
    space->attributes.insert_or_assign(name, value);
  }
  return space;
}

Value raise_exception(Budget& budget, const Arguments& arguments) {
  const Parameters p("raise_exception", arguments, {"message"}, 1);
  throw EvalError{to_text(*p[0], budget)};
}

Value strftime_now(Budget&, const Arguments& arguments) {
  const Parameters p("strftime_now", arguments, {"format"}, 1);
  const std::string format = as_string(*p[0], "strftime_now");
  const std::time_t now = std::time(nullptr);
  std::tm local{};
  ::localtime_r(&now, &local);
  char buffer[1024];
  const size_t size = std::strftime(buffer, sizeof buffer, format.c_str(), &local);
  return std::string(buffer, size);
}

}  // namespace

Value attribute(const Value& value, const std::string& name) {
  if (value.missing()) throw EvalError{value.missing()->why};
  if (value.loop()) return loop_attribute(value, name);
  if (auto method = find_method(value, name)) return *method;
  const Value* found = entry(value, name);
  return found ? *found : no_attribute(value, name);
}

Value item(const Value& value, const Value& key, Budget& budget) {
  if (value.missing()) throw EvalError{value.missing()->why};
  if (const std::string* name = key.string()) {
    const Value* found = entry(value, *name);
    return found ? *found : attribute(value, *name);
  }
  if ((value.list() || value.string()) && (key.integer() || key.boolean()))
    return sequence_item(value, as_integer(key, "an index"), budget);
  return Value::undefined(
      fmt::format("a value of type '{}' has no item of type '{}'", type_name(value), type_name(key)));
}

const std::vector<std::pair<std::string, Value>>& global_functions() {
  static const std::vector<std::pair<std::string, Value>> functions = {
      {"range", Callable{"range", range}},
      {"dict", Callable{"dict", [](Budget& budget,
                                   const Arguments& arguments) { return Value(make_dict(budget, arguments)); }}},
      {"namespace", Callable{"namespace", make_namespace}},
      {"raise_exception", Callable{"raise_exception", raise_exception}},
      {"strftime_now", Callable{"strftime_now", strftime_now}},
  };
  return functions;
}

Parameters::Parameters(std::string_view callee, const Arguments& arguments,
                       std::initializer_list<std::string_view> names, size_t required)
    : callee_(callee), values_(names.size(), nullptr) {
  if (arguments.positional.size() > names.size())
    throw EvalError{
        fmt::format("{}: {} arguments, at most {} are taken", callee, arguments.positional.size(), names.size())};
  for (size_t i = 0; i < arguments.positional.size(); ++i) values_[i] = &arguments.positional[i];
  for (const auto& [name, value] : arguments.named) {
    const auto* found = std::find(names.begin(), names.end(), name);
    if (found == names.end()) throw EvalError{fmt::format("{}: no parameter is called '{}'", callee, name)};
    const Value*& slot = values_[static_cast<size_t>(found - names.begin())];
    if (slot) throw EvalError{fmt::format("{}: two values for '{}'", callee, name)};
    slot = &value;
  }
  for (size_t i = 0; i < required; ++i)
    if (!values_[i]) throw EvalError{fmt::format("{}: '{}' is missing", callee, names.begin()[i])};
}

int64_t Parameters::integer(size_t i, int64_t otherwise) const {
  return values_[i] ? as_integer(*values_[i], callee_) : otherwise;
}

bool Parameters::flag(size_t i, bool otherwise) const { return values_[i] ? truthy(*values_[i]) : otherwise; }

std::optional<std::string_view> Parameters::string(size_t i) const {
  if (!values_[i] || values_[i]->is_none()) return std::nullopt;
  return as_string(*values_[i], callee_);
}

}  // namespace mora::jinja
