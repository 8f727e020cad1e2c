#include "loaders/chat_template/expression_parser.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <type_traits>

namespace mora::jinja {
namespace {

using Kind = Token::Kind;

template <class... Cases>
struct Overloaded : Cases... {
  using Cases::operator()...;
};
template <class... Cases>
Overloaded(Cases...) -> Overloaded<Cases...>;

// Calls visit(child) for each expression below a node.
template <class Node, class Visit>
void for_each_child(const Node& node, Visit visit) {
  const auto maybe = [&](const ExpressionPtr& child) {
    if (child) visit(*child);
  };
  const auto arguments = [&](const CallArguments& call) {
    for (const auto& child : call.positional) maybe(child);
    for (const auto& [name, child] : call.named) maybe(child);
  };
  Overloaded{
      [](const Constant&) {},
      [](const Name&) {},
      [&](const ListLiteral& list) { std::for_each(list.items.begin(), list.items.end(), maybe); },
      [&](const DictLiteral& dict) {
        for (const auto& [key, value] : dict.items) maybe(key), maybe(value);
      },
      [&](const Unary& unary) { maybe(unary.operand); },
      [&](const Binary& binary) { maybe(binary.left), maybe(binary.right); },
      [&](const Compare& compare) {
        maybe(compare.first);
        for (const auto& [op, operand] : compare.rest) maybe(operand);
      },
      [&](const Conditional& choice) { maybe(choice.value), maybe(choice.condition), maybe(choice.otherwise); },
      [&](const AttributeOf& attribute) { maybe(attribute.object); },
      [&](const ItemOf& item) { maybe(item.object), maybe(item.key); },
      [&](const SliceOf& slice) { maybe(slice.object), maybe(slice.start), maybe(slice.stop), maybe(slice.step); },
      [&](const Call& call) { maybe(call.callee), arguments(call.arguments); },
      [&](const FilterCall& call) { maybe(call.input), arguments(call.arguments); },
      [&](const TestCall& call) { maybe(call.input), arguments(call.arguments); },
  }(node);
}

std::string describe(const Token& token) {
  switch (token.kind) {
    case Kind::end: return "the end of the template";
    case Kind::block_end: return "'%}'";
    case Kind::print_end: return "'}}'";
    case Kind::string: return "a string";
    default: return "'" + token.text + "'";
  }
}

}  // namespace

void ExpressionParser::fail(std::string message) const { throw SyntaxError{std::move(message), peek().line}; }

void ExpressionParser::fail_unexpected(std::string_view expected) const {
  fail(fmt::format("expected {}, found {}", expected, describe(peek())));
}

Token ExpressionParser::take() {
  Token token = peek();
  if (at_ + 1 < tokens_.size()) ++at_;
  return token;
}

bool ExpressionParser::at(Kind kind, std::string_view text, size_t ahead) const {
  return peek(ahead).kind == kind && peek(ahead).text == text;
}

bool ExpressionParser::accept_op(std::string_view text) { return at_op(text) && (take(), true); }
bool ExpressionParser::accept_word(std::string_view text) { return at_word(text) && (take(), true); }

void ExpressionParser::expect_op(std::string_view text) {
  if (!accept_op(text)) fail_unexpected(fmt::format("'{}'", text));
}

std::string ExpressionParser::expect_name() {
  if (peek().kind != Kind::name) fail_unexpected("a name");
  return take().text;
}

template <class Node>
ExpressionPtr ExpressionParser::make(int line, Node node) const {
  int depth = 0;
  for_each_child(node, [&](const Expression& child) { depth = std::max(depth, child.depth); });
  if (depth >= kMaxDepth) fail("an expression too long or nested too deep");
  auto expression = std::make_unique<Expression>();
  expression->line = line;
  expression->depth = depth + 1;
  expression->node = std::move(node);
  return expression;
}

ExpressionPtr ExpressionParser::parse_tuple(bool with_condition) {
  const int line = peek().line;
  ExpressionPtr first = parse_expression(with_condition);
  if (!at_op(",")) return first;
  ListLiteral tuple{{}, true};
  tuple.items.push_back(std::move(first));
  while (accept_op(",")) {
    if (at_op(")") || peek().kind == Kind::block_end || peek().kind == Kind::print_end || at_op("=")) break;
    tuple.items.push_back(parse_expression(with_condition));
  }
  return make(line, std::move(tuple));
}

ExpressionPtr ExpressionParser::parse_expression(bool with_condition) {
  const Level level(*this);
  const int line = peek().line;
  ExpressionPtr value = parse_or();
  while (with_condition && accept_word("if")) {
    ExpressionPtr condition = parse_or();
    ExpressionPtr otherwise = accept_word("else") ? parse_expression() : nullptr;
    value = make(line, Conditional{std::move(value), std::move(condition), std::move(otherwise)});
  }
  return value;
}

ExpressionPtr ExpressionParser::parse_or() {
  const int line = peek().line;
  ExpressionPtr left = parse_and();
  while (accept_word("or")) left = make(line, Binary{BinaryOp::logical_or, std::move(left), parse_and()});
  return left;
}

ExpressionPtr ExpressionParser::parse_and() {
  const int line = peek().line;
  ExpressionPtr left = parse_not();
  while (accept_word("and")) left = make(line, Binary{BinaryOp::logical_and, std::move(left), parse_not()});
  return left;
}

ExpressionPtr ExpressionParser::parse_not() {
  const Level level(*this);
  const int line = peek().line;
  if (accept_word("not")) return make(line, Unary{UnaryOp::logical_not, parse_not()});
  return parse_compare();
}

ExpressionPtr ExpressionParser::parse_compare() {
  static constexpr std::pair<std::string_view, CompareOp> kOps[] = {
      {"==", CompareOp::equal},      {"!=", CompareOp::not_equal}, {"<", CompareOp::less},
      {"<=", CompareOp::less_equal}, {">", CompareOp::greater},    {">=", CompareOp::greater_equal}};
  const int line = peek().line;
  Compare compare{parse_sum(), {}};
  while (true) {
    const auto op = std::find_if(std::begin(kOps), std::end(kOps), [&](const auto& each) { return at_op(each.first); });
    if (op != std::end(kOps)) {
      take();
      compare.rest.emplace_back(op->second, parse_sum());
    } else if (accept_word("in")) {
      compare.rest.emplace_back(CompareOp::in, parse_sum());
    } else if (at_word("not") && at(Kind::name, "in", 1)) {
      take(), take();
      compare.rest.emplace_back(CompareOp::not_in, parse_sum());
    } else {
      break;
    }
  }
  return compare.rest.empty() ? std::move(compare.first) : make(line, std::move(compare));
}

ExpressionPtr ExpressionParser::parse_sum() {
  const int line = peek().line;
  ExpressionPtr left = parse_concatenation();
  while (at_op("+") || at_op("-")) {
    const BinaryOp op = take().text == "+" ? BinaryOp::add : BinaryOp::subtract;
    left = make(line, Binary{op, std::move(left), parse_concatenation()});
  }
  return left;
}

ExpressionPtr ExpressionParser::parse_concatenation() {
  const int line = peek().line;
  ExpressionPtr left = parse_product();
  while (accept_op("~")) left = make(line, Binary{BinaryOp::concatenate, std::move(left), parse_product()});
  return left;
}

ExpressionPtr ExpressionParser::parse_product() {
  static constexpr std::pair<std::string_view, BinaryOp> kOps[] = {
      {"*", BinaryOp::multiply}, {"/", BinaryOp::divide}, {"//", BinaryOp::floor_divide}, {"%", BinaryOp::modulo}};
  const int line = peek().line;
  ExpressionPtr left = parse_power();
  while (true) {
    const auto op = std::find_if(std::begin(kOps), std::end(kOps), [&](const auto& each) { return at_op(each.first); });
    if (op == std::end(kOps)) return left;
    take();
    left = make(line, Binary{op->second, std::move(left), parse_power()});
  }
}

ExpressionPtr ExpressionParser::parse_power() {
  const int line = peek().line;
  ExpressionPtr left = parse_unary();
  while (accept_op("**")) left = make(line, Binary{BinaryOp::power, std::move(left), parse_unary()});
  return left;
}

ExpressionPtr ExpressionParser::parse_unary(bool with_filters) {
  const Level level(*this);
  const int line = peek().line;
  ExpressionPtr value;
  if (accept_op("-")) {
    value = make(line, Unary{UnaryOp::negate, parse_unary(false)});
  } else if (accept_op("+")) {
    value = make(line, Unary{UnaryOp::plus, parse_unary(false)});
  } else {
    value = parse_primary();
  }
  value = parse_postfix(std::move(value));
  return with_filters ? parse_filters_and_tests(std::move(value)) : std::move(value);
}

ExpressionPtr ExpressionParser::parse_primary() {
  const int line = peek().line;
  switch (peek().kind) {
    case Kind::integer:
    case Kind::floating: return parse_number(take());
    case Kind::string: {
      std::string text;
      while (peek().kind == Kind::string) text += take().text;  // neighbours are one string
      return make(line, Constant{std::move(text)});
    }
    case Kind::name: {
      const std::string name = take().text;
      if (name == "true" || name == "True") return make(line, Constant{true});
      if (name == "false" || name == "False") return make(line, Constant{false});
      if (name == "none" || name == "None") return make(line, Constant{Value()});
      return make(line, Name{name});
    }
    default: break;
  }
  if (accept_op("[")) return parse_list(line);
  if (accept_op("{")) return parse_dict(line);
  if (!accept_op("(")) fail_unexpected("an expression");
  if (accept_op(")")) return make(line, ListLiteral{{}, true});
  ExpressionPtr inner = parse_tuple();
  expect_op(")");
  return inner;
}

ExpressionPtr ExpressionParser::parse_number(const Token& token) const {
  const char *first = token.text.data(), *last = first + token.text.size();
  if (token.kind == Kind::floating) {
    double value = 0;
    std::from_chars(first, last, value);
    return make(token.line, Constant{value});
  }
  int64_t value = 0;
  if (std::from_chars(first, last, value).ec != std::errc()) fail(fmt::format("{} is too large", token.text));
  return make(token.line, Constant{value});
}

ExpressionPtr ExpressionParser::parse_list(int line) {
  ListLiteral list;
  while (!accept_op("]")) {
    if (!list.items.empty()) {
      expect_op(",");
      if (accept_op("]")) break;
    }
    list.items.push_back(parse_expression());
  }
  return make(line, std::move(list));
}

ExpressionPtr ExpressionParser::parse_dict(int line) {
  DictLiteral dict;
  while (!accept_op("}")) {
    if (!dict.items.empty()) {
      expect_op(",");
      if (accept_op("}")) break;
    }
    ExpressionPtr key = parse_expression();
    expect_op(":");
    dict.items.emplace_back(std::move(key), parse_expression());
  }
  return make(line, std::move(dict));
}

ExpressionPtr ExpressionParser::parse_postfix(ExpressionPtr object) {
  while (true) {
    const int line = peek().line;
    if (accept_op(".")) {
      if (peek().kind == Kind::integer) {
        object = make(line, ItemOf{std::move(object), parse_number(take())});
      } else {
        object = make(line, AttributeOf{std::move(object), expect_name()});
      }
    } else if (accept_op("[")) {
      object = parse_subscript(std::move(object), line);
    } else if (at_op("(")) {
      object = make(line, Call{std::move(object), parse_arguments()});
    } else {
      return object;
    }
  }
}

// Behind object[: a key, or start:stop:step with each part optional.
ExpressionPtr ExpressionParser::parse_subscript(ExpressionPtr object, int line) {
  ExpressionPtr parts[3];
  if (!at_op(":")) parts[0] = parse_tuple();
  if (accept_op("]")) return make(line, ItemOf{std::move(object), std::move(parts[0])});
  for (int i = 1; i < 3 && accept_op(":"); ++i)
    if (!at_op(":") && !at_op("]")) parts[i] = parse_expression();
  expect_op("]");
  return make(line, SliceOf{std::move(object), std::move(parts[0]), std::move(parts[1]), std::move(parts[2])});
}

CallArguments ExpressionParser::parse_arguments() {
  CallArguments arguments;
  expect_op("(");
  for (bool first = true; !accept_op(")"); first = false) {
    if (!first) {
      expect_op(",");
      if (accept_op(")")) break;
    }
    if (at_op("*") || at_op("**")) fail("'*' in a call is not supported");
    if (peek().kind == Kind::name && at(Kind::op, "=", 1)) {
      std::string name = take().text;
      take();
      arguments.named.emplace_back(std::move(name), parse_expression());
    } else {
      if (!arguments.named.empty()) fail("an argument by position behind one by name");
      arguments.positional.push_back(parse_expression());
    }
  }
  return arguments;
}

ExpressionPtr ExpressionParser::parse_filters_and_tests(ExpressionPtr value) {
  while (true) {
    const int line = peek().line;
    if (at_op("|")) {
      value = parse_filters(std::move(value));
    } else if (accept_word("is")) {
      value = parse_test(std::move(value));
    } else if (at_op("(")) {
      value = make(line, Call{std::move(value), parse_arguments()});
    } else {
      return value;
    }
  }
}

ExpressionPtr ExpressionParser::parse_filters(ExpressionPtr input) {
  while (accept_op("|")) input = parse_filter_call(std::move(input));
  return input;
}

std::vector<ExpressionPtr> ExpressionParser::parse_block_filters() {
  std::vector<ExpressionPtr> filters;
  do {
    filters.push_back(parse_filter_call(nullptr));
  } while (accept_op("|"));
  return filters;
}

ExpressionPtr ExpressionParser::parse_filter_call(ExpressionPtr input) {
  const int line = peek().line;
  std::string name = expect_name();
  const Filter filter = find_filter(name);
  if (!filter) fail(fmt::format("no filter is called '{}'", name));
  CallArguments arguments;
  if (at_op("(")) arguments = parse_arguments();
  return make(line, FilterCall{std::move(input), std::move(name), filter, std::move(arguments)});
}

// Behind `is`: [not] name, then arguments in brackets or one without.
ExpressionPtr ExpressionParser::parse_test(ExpressionPtr input) {
  const int line = peek().line;
  const bool negated = accept_word("not");
  std::string name = expect_name();
  const Test test = find_test(name);
  if (!test) fail(fmt::format("no test is called '{}'", name));
  CallArguments arguments;
  const bool word =
      peek().kind == Kind::name && !at_word("else") && !at_word("or") && !at_word("and") && !at_word("if");
  const bool literal = peek().kind == Kind::string || peek().kind == Kind::integer || peek().kind == Kind::floating;
  if (at_op("(")) {
    arguments = parse_arguments();
  } else if (literal || word || at_op("[") || at_op("{")) {
    if (at_word("is")) fail("one test behind another: use 'and'");
    arguments.positional.push_back(parse_postfix(parse_primary()));
  }
  return make(line, TestCall{std::move(input), std::move(name), test, std::move(arguments), negated});
}

}  // namespace mora::jinja
