// Walks a template's tree with the values of a chat and writes the text.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "loaders/chat_template/ast.h"

namespace mora::jinja {

// One rendering. Time, memory and depth are bounded (Budget, kMaxDepth).
class Interpreter {
 public:
  explicit Interpreter(std::map<std::string, Value> variables);
  Interpreter(const Interpreter&) = delete;
  ~Interpreter();

  // Throws EvalError; `line` is then where.
  std::string run(const Body& body);
  int line() const { return line_; }

 private:
  static constexpr int kMaxDepth = 1000;  // of evaluations inside each other, macros included

  // Names, and the scope around them. A loop's pass, a macro and a block have one; an `if` has none.
  struct Scope {
    std::map<std::string, Value> names;
    const Scope* parent = nullptr;
  };
  enum class Flow { next, break_loop, continue_loop };
  class Enter;

  Flow execute(const Body& body, std::string& out);
  Flow run_statement(const Text& text, std::string& out);
  Flow run_statement(const Print& print, std::string& out);
  Flow run_statement(const If& choice, std::string& out);
  Flow run_statement(const For& loop, std::string& out);
  Flow run_statement(const Set& set, std::string& out);
  Flow run_statement(const SetBlock& set, std::string& out);
  Flow run_statement(const MacroDefinition& macro, std::string& out);
  Flow run_statement(const FilterBlock& block, std::string& out);
  Flow run_statement(const Scoped& block, std::string& out);
  Flow run_statement(const Break&, std::string&) { return Flow::break_loop; }
  Flow run_statement(const Continue&, std::string&) { return Flow::continue_loop; }

  Value evaluate(const Expression& expression);
  Value value_of(const Constant& constant) { return constant.value; }
  Value value_of(const Name& name);
  Value value_of(const ListLiteral& list);
  Value value_of(const DictLiteral& dict);
  Value value_of(const Unary& unary);
  Value value_of(const Binary& binary);
  Value value_of(const Compare& compare);
  Value value_of(const Conditional& choice);
  Value value_of(const AttributeOf& attribute);
  Value value_of(const ItemOf& item);
  Value value_of(const SliceOf& slice);
  Value value_of(const Call& call);
  Value value_of(const FilterCall& call);
  Value value_of(const TestCall& call);

  std::vector<Value> loop_items(const For& loop);
  void write(std::string& out, const Value& value);
  void assign(const std::vector<std::string>& targets, bool unpack, const Value& value);
  void assign_attribute(const std::string& name, const std::string& attribute, Value value);
  Value filtered(Value input, const std::vector<ExpressionPtr>& filters);
  Arguments evaluate(const CallArguments& arguments);
  Value call_macro(const MacroDefinition& macro, const std::map<std::string, Value>& captured,
                   const Arguments& arguments);

  Budget budget_;
  std::vector<std::shared_ptr<Namespace>>
      namespaces_;  // all that were made: emptied at the end, so that no cycle stays
  Scope globals_, root_;
  Scope* scope_ = &root_;
  int line_ = 1;
  int depth_ = 0;
};

}  // namespace mora::jinja
