#include "loaders/chat_template/interpreter.h"

#include <fmt/format.h>

#include <algorithm>

#include "loaders/chat_template/operators.h"

namespace mora::jinja {

// Counts how deep evaluations stand inside each other, and makes `scope`, if there is one, the innermost.
class Interpreter::Enter {
 public:
  explicit Enter(Interpreter& owner, Scope* scope = nullptr) : owner_(owner), outer_(owner.scope_) {
    if (++owner_.depth_ > kMaxDepth) {
      --owner_.depth_;
      throw EvalError{"the template recurs too deep"};
    }
    if (scope) owner_.scope_ = scope;
  }
  ~Enter() {
    --owner_.depth_;
    owner_.scope_ = outer_;
  }
  Enter(const Enter&) = delete;

 private:
  Interpreter& owner_;
  Scope* outer_;
};

Interpreter::Interpreter(std::map<std::string, Value> variables) {
  for (const auto& [name, function] : global_functions()) globals_.names.emplace(name, function);
  root_.names = std::move(variables);
  root_.parent = &globals_;
}

Interpreter::~Interpreter() {
  for (const auto& space : namespaces_) space->attributes.clear();
}

std::string Interpreter::run(const Body& body) {
  std::string out;
  execute(body, out);
  return out;
}

Interpreter::Flow Interpreter::execute(const Body& body, std::string& out) {
  const Enter enter(*this);
  for (const Statement& statement : body) {
    budget_.step();
    line_ = statement.line;
    const Flow flow = std::visit([&](const auto& node) { return run_statement(node, out); }, statement.node);
    if (flow != Flow::next) return flow;
  }
  return Flow::next;
}

void Interpreter::write(std::string& out, const Value& value) { out += to_text(value, budget_); }

Interpreter::Flow Interpreter::run_statement(const Text& text, std::string& out) {
  budget_.charge(text.text.size());
  out += text.text;
  return Flow::next;
}

Interpreter::Flow Interpreter::run_statement(const Print& print, std::string& out) {
  write(out, evaluate(*print.value));
  return Flow::next;
}

Interpreter::Flow Interpreter::run_statement(const If& choice, std::string& out) {
  for (const auto& [condition, body] : choice.branches)
    if (truthy(evaluate(*condition))) return execute(body, out);
  return execute(choice.otherwise, out);
}

// The items that pass the loop's condition, which sees the loop's targets.
std::vector<Value> Interpreter::loop_items(const For& loop) {
  std::vector<Value> items = iterate(evaluate(*loop.items), budget_);
  if (!loop.condition) return items;
  std::erase_if(items, [&](const Value& item) {
    Scope pass{{}, scope_};
    const Enter enter(*this, &pass);
    budget_.step();
    assign(loop.targets, loop.unpack, item);
    return !truthy(evaluate(*loop.condition));
  });
  return items;
}

Interpreter::Flow Interpreter::run_statement(const For& loop, std::string& out) {
  const auto items = std::make_shared<const std::vector<Value>>(loop_items(loop));
  if (items->empty()) {
    Scope block{{}, scope_};
    const Enter enter(*this, &block);
    return execute(loop.otherwise, out);
  }
  for (size_t i = 0; i < items->size(); ++i) {
    budget_.step();
    Scope pass{{}, scope_};
    const Enter enter(*this, &pass);
    assign(loop.targets, loop.unpack, (*items)[i]);
    pass.names.insert_or_assign("loop", std::make_shared<const Loop>(Loop{items, i}));
    if (execute(loop.body, out) == Flow::break_loop) break;
  }
  return Flow::next;
}

Interpreter::Flow Interpreter::run_statement(const Set& set, std::string&) {
  Value value = evaluate(*set.value);
  if (set.attribute.empty()) {
    assign(set.targets, set.unpack, value);
  } else {
    assign_attribute(set.targets[0], set.attribute, std::move(value));
  }
  return Flow::next;
}

Interpreter::Flow Interpreter::run_statement(const SetBlock& set, std::string&) {
  std::string text;
  Flow flow = Flow::next;
  {
    Scope block{{}, scope_};
    const Enter enter(*this, &block);
    flow = execute(set.body, text);
  }
  Value value = filtered(std::move(text), set.filters);
  if (set.attribute.empty()) {
    scope_->names.insert_or_assign(set.target, std::move(value));
  } else {
    assign_attribute(set.target, set.attribute, std::move(value));
  }
  return flow;
}

Interpreter::Flow Interpreter::run_statement(const FilterBlock& block, std::string& out) {
  std::string text;
  Scope scope{{}, scope_};
  const Enter enter(*this, &scope);
  const Flow flow = execute(block.body, text);
  write(out, filtered(std::move(text), block.filters));
  return flow;
}

Interpreter::Flow Interpreter::run_statement(const Scoped& block, std::string& out) {
  Scope scope{{}, scope_};
  for (const auto& [name, value] : block.names) scope.names.insert_or_assign(name, evaluate(*value));
  const Enter enter(*this, &scope);
  return execute(block.body, out);
}

// A macro sees the template's own names as they are when it is called, and those of the scopes it stands in (a loop's
// pass, say) as they are here.
Interpreter::Flow Interpreter::run_statement(const MacroDefinition& macro, std::string&) {
  std::map<std::string, Value> captured;
  for (const Scope* scope = scope_; scope != &root_ && scope != &globals_; scope = scope->parent) {
    budget_.charge_items(scope->names.size());
    captured.insert(scope->names.begin(), scope->names.end());
  }
  scope_->names.insert_or_assign(macro.name, Callable{macro.name, [this, &macro, captured = std::move(captured)](
                                                                      Budget&, const Arguments& arguments) {
                                                        return call_macro(macro, captured, arguments);
                                                      }});
  return Flow::next;
}

Value Interpreter::call_macro(const MacroDefinition& macro, const std::map<std::string, Value>& captured,
                              const Arguments& arguments) {
  if (arguments.positional.size() > macro.parameters.size())
    throw EvalError{fmt::format("macro '{}' takes at most {} arguments", macro.name, macro.parameters.size())};
  budget_.charge_items(captured.size());
  Scope outer{captured, &root_};
  Scope locals{{}, &outer};
  const Enter enter(*this, &locals);
  for (const auto& [name, value] : arguments.named) {
    const bool known = std::any_of(macro.parameters.begin(), macro.parameters.end(),
                                   [&name = name](const auto& parameter) { return parameter.first == name; });
    if (!known) throw EvalError{fmt::format("macro '{}' has no parameter '{}'", macro.name, name)};
    locals.names.insert_or_assign(name, value);
  }
  for (size_t i = 0; i < macro.parameters.size(); ++i) {
    const auto& [name, otherwise] = macro.parameters[i];
    if (i < arguments.positional.size()) {
      if (!locals.names.emplace(name, arguments.positional[i]).second)
        throw EvalError{fmt::format("macro '{}': two values for '{}'", macro.name, name)};
    } else if (!locals.names.contains(name)) {
      locals.names.emplace(name, otherwise ? evaluate(*otherwise)
                                           : Value::undefined(fmt::format("parameter '{}' was not provided", name)));
    }
  }
  const int line = line_;
  std::string out;
  execute(macro.body, out);
  line_ = line;
  return out;
}

void Interpreter::assign(const std::vector<std::string>& targets, bool unpack, const Value& value) {
  if (!unpack) {
    scope_->names.insert_or_assign(targets[0], value);
    return;
  }
  const std::vector<Value> items = iterate(value, budget_);
  if (items.size() != targets.size())
    throw EvalError{fmt::format("{} values for {} names", items.size(), targets.size())};
  for (size_t i = 0; i < items.size(); ++i) scope_->names.insert_or_assign(targets[i], items[i]);
}

void Interpreter::assign_attribute(const std::string& name, const std::string& attribute, Value value) {
  const Value object = value_of(Name{name});
  Namespace* space = object.name_space();
  if (!space) throw EvalError{fmt::format("'{}' is no namespace, its attributes cannot be set", name)};
  if (attribute.starts_with('_')) throw EvalError{fmt::format("a namespace has no attribute '{}'", attribute)};
  space->attributes.insert_or_assign(attribute, std::move(value));
}

Value Interpreter::filtered(Value input, const std::vector<ExpressionPtr>& filters) {
  for (const ExpressionPtr& filter : filters) {
    const auto& call = std::get<FilterCall>(filter->node);
    input = call.filter(budget_, input, evaluate(call.arguments));
  }
  return input;
}

Value Interpreter::evaluate(const Expression& expression) {
  const Enter enter(*this);
  budget_.step();
  line_ = expression.line;
  return std::visit([&](const auto& node) { return value_of(node); }, expression.node);
}

Arguments Interpreter::evaluate(const CallArguments& arguments) {
  Arguments values;
  for (const auto& argument : arguments.positional) values.positional.push_back(evaluate(*argument));
  for (const auto& [name, argument] : arguments.named) values.named.emplace_back(name, evaluate(*argument));
  return values;
}

Value Interpreter::value_of(const Name& name) {
  for (const Scope* scope = scope_; scope; scope = scope->parent) {
    const auto found = scope->names.find(name.name);
    if (found != scope->names.end()) return found->second;
  }
  return Value::undefined(fmt::format("'{}' is undefined", name.name));
}

Value Interpreter::value_of(const ListLiteral& literal) {
  budget_.charge_items(literal.items.size());
  List list{{}, literal.tuple};
  for (const auto& item : literal.items) list.items.push_back(evaluate(*item));
  return list;
}

Value Interpreter::value_of(const DictLiteral& literal) {
  budget_.charge_items(4 * literal.items.size());
  Dict dict;
  for (const auto& [key, value] : literal.items) {
    const std::string name = as_string(evaluate(*key), "a dict's key");
    dict.set(name, evaluate(*value));
  }
  return dict;
}

Value Interpreter::value_of(const Unary& unary) { return arithmetic(unary.op, evaluate(*unary.operand)); }

Value Interpreter::value_of(const Binary& binary) {
  Value left = evaluate(*binary.left);
  if (binary.op == BinaryOp::logical_and) return truthy(left) ? evaluate(*binary.right) : left;
  if (binary.op == BinaryOp::logical_or) return truthy(left) ? left : evaluate(*binary.right);
  return arithmetic(binary.op, left, evaluate(*binary.right), budget_);
}

Value Interpreter::value_of(const Compare& chain) {
  Value left = evaluate(*chain.first);
  for (const auto& [op, operand] : chain.rest) {
    Value right = evaluate(*operand);
    if (!compare(op, left, right, budget_)) return false;
    left = std::move(right);
  }
  return true;
}

Value Interpreter::value_of(const Conditional& choice) {
  if (truthy(evaluate(*choice.condition))) return evaluate(*choice.value);
  return choice.otherwise ? evaluate(*choice.otherwise) : Value::undefined("an 'if' without an 'else' has no value");
}

Value Interpreter::value_of(const AttributeOf& access) { return attribute(evaluate(*access.object), access.name); }

Value Interpreter::value_of(const ItemOf& access) {
  const Value object = evaluate(*access.object);
  return item(object, evaluate(*access.key), budget_);
}

Value Interpreter::value_of(const SliceOf& access) {
  const Value object = evaluate(*access.object);
  const auto bound = [&](const ExpressionPtr& part) { return part ? evaluate(*part) : Value(); };
  const Value start = bound(access.start), stop = bound(access.stop);
  return slice(object, start, stop, bound(access.step), budget_);
}

Value Interpreter::value_of(const Call& call) {
  const Value callee = evaluate(*call.callee);
  if (callee.missing()) throw EvalError{callee.missing()->why};
  if (!callee.callable()) throw EvalError{fmt::format("a value of type '{}' cannot be called", type_name(callee))};
  const Arguments arguments = evaluate(call.arguments);
  if (namespaces_.size() > 100'000) throw EvalError{"too many namespaces"};
  Value result = callee.callable()->call(budget_, arguments);
  if (const auto space = result.shared_name_space()) namespaces_.push_back(space);
  return result;
}

Value Interpreter::value_of(const FilterCall& call) {
  const Value input = evaluate(*call.input);
  return call.filter(budget_, input, evaluate(call.arguments));
}

Value Interpreter::value_of(const TestCall& call) {
  const Value input = evaluate(*call.input);
  return call.test(budget_, input, evaluate(call.arguments)) != call.negated;
}

}  // namespace mora::jinja
