// A chat template as a tree: statements, made of expressions.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "loaders/chat_template/builtins.h"
#include "loaders/chat_template/value.h"

namespace mora::jinja {

struct Expression;
using ExpressionPtr = std::unique_ptr<Expression>;

struct CallArguments {
  std::vector<ExpressionPtr> positional;
  std::vector<std::pair<std::string, ExpressionPtr>> named;
};

enum class BinaryOp {
  add,
  subtract,
  multiply,
  divide,
  floor_divide,
  modulo,
  power,
  concatenate,
  logical_and,
  logical_or
};
enum class UnaryOp { negate, plus, logical_not };
enum class CompareOp { equal, not_equal, less, less_equal, greater, greater_equal, in, not_in };

struct Constant {
  Value value;
};
struct Name {
  std::string name;
};
struct ListLiteral {
  std::vector<ExpressionPtr> items;
  bool tuple = false;
};
struct DictLiteral {
  std::vector<std::pair<ExpressionPtr, ExpressionPtr>> items;
};
struct Unary {
  UnaryOp op;
  ExpressionPtr operand;
};
struct Binary {
  BinaryOp op;
  ExpressionPtr left, right;
};
struct Compare {
  ExpressionPtr first;
  std::vector<std::pair<CompareOp, ExpressionPtr>> rest;
};  // a < b < c
struct Conditional {
  ExpressionPtr value, condition, otherwise;
};  // otherwise may be null
struct AttributeOf {
  ExpressionPtr object;
  std::string name;
};  // object.name
struct ItemOf {
  ExpressionPtr object, key;
};  // object[key]
struct SliceOf {
  ExpressionPtr object, start, stop, step;
};  // each bound may be null
struct Call {
  ExpressionPtr callee;
  CallArguments arguments;
};
struct FilterCall {
  ExpressionPtr input;
  std::string name;
  Filter filter;
  CallArguments arguments;
};  // input null: a block's
struct TestCall {
  ExpressionPtr input;
  std::string name;
  Test test;
  CallArguments arguments;
  bool negated = false;
};

struct Expression {
  int line = 0;
  int depth = 1;  // of the tree from here down
  std::variant<Constant, Name, ListLiteral, DictLiteral, Unary, Binary, Compare, Conditional, AttributeOf, ItemOf,
               SliceOf, Call, FilterCall, TestCall>
      node;
};

struct Statement;
using Body = std::vector<Statement>;

struct Text {
  std::string text;
};
struct Print {
  ExpressionPtr value;
};
struct If {
  std::vector<std::pair<ExpressionPtr, Body>> branches;
  Body otherwise;
};  // a null condition never stands here
struct For {
  std::vector<std::string> targets;
  bool unpack = false;
  ExpressionPtr items, condition;
  Body body, otherwise;
};
struct Set {
  std::vector<std::string> targets;
  bool unpack = false;
  std::string attribute;
  ExpressionPtr value;
};  // targets[0].attribute
struct SetBlock {
  std::string target, attribute;
  std::vector<ExpressionPtr> filters;
  Body body;
};
struct MacroDefinition {
  std::string name;
  std::vector<std::pair<std::string, ExpressionPtr>> parameters;
  Body body;
};  // default or null
struct FilterBlock {
  std::vector<ExpressionPtr> filters;
  Body body;
};
struct Scoped {
  std::vector<std::pair<std::string, ExpressionPtr>> names;
  Body body;
};  // with, generation
struct Break {};
struct Continue {};

struct Statement {
  int line = 0;
  std::variant<Text, Print, If, For, Set, SetBlock, MacroDefinition, FilterBlock, Scoped, Break, Continue> node;
};

}  // namespace mora::jinja
