#include "loaders/chat_template/parser.h"

#include <fmt/format.h>

#include <algorithm>
#include <initializer_list>

#include "loaders/chat_template/expression_parser.h"

namespace mora::jinja {
namespace {

using Kind = Token::Kind;

class TemplateParser : ExpressionParser {
 public:
  using ExpressionParser::ExpressionParser;

  Body parse() {
    Body body = parse_body({});
    if (peek().kind != Kind::end) fail(fmt::format("'{}' where nothing is open", peek(1).text));
    return body;
  }

 private:
  // Statements up to a block that begins with one of `ends`, which stays, or up to the end of the template.
  Body parse_body(std::initializer_list<std::string_view> ends) {
    const Level level(*this);
    Body body;
    while (peek().kind != Kind::end) {
      const int line = peek().line;
      if (peek().kind == Kind::text) {
        body.emplace_back().line = line;  // (in place: GCC 12 warns of uninitialised members when it inlines the move)
        body.back().node = Text{take().text};
      } else if (peek().kind == Kind::print_begin) {
        take();
        ExpressionPtr value = parse_tuple();
        if (peek().kind != Kind::print_end) fail_unexpected("'}}'");
        take();
        body.emplace_back().line = line;
        body.back().node = Print{std::move(value)};
      } else {
        const bool known_end = std::any_of(ends.begin(), ends.end(), [&](auto end) { return at(Kind::name, end, 1); });
        if (known_end || (ends.size() == 0 && peek(1).text.starts_with("end"))) return body;
        take();
        body.push_back(parse_statement(line));
      }
    }
    if (ends.size() > 0) fail(fmt::format("the template ends where '{}' is expected", *(ends.end() - 1)));
    return body;
  }

  void expect_block_end() {
    if (peek().kind != Kind::block_end) fail_unexpected("'%}'");
    take();
  }

  // {% word %}, where parse_body stopped.
  void expect_end(std::string_view word) {
    take();
    if (!accept_word(word)) fail_unexpected(fmt::format("'{}'", word));
    expect_block_end();
  }

  Statement parse_statement(int line) {
    const std::string word = expect_name();
    if (word == "if") return {line, parse_if()};
    if (word == "for") return {line, parse_for()};
    if (word == "set") return parse_set(line);
    if (word == "macro") return {line, parse_macro()};
    if (word == "filter") return {line, parse_filter_block()};
    if (word == "with") return {line, parse_with()};
    if (word == "generation") return {line, parse_generation()};
    if (word == "break" || word == "continue") {
      if (loops_ == 0) fail(fmt::format("'{}' outside a loop", word));
      expect_block_end();
      if (word == "break") return {line, Break{}};
      return {line, Continue{}};
    }
    fail(fmt::format("the statement '{}' is not supported", word));
  }

  If parse_if() {
    If statement;
    do {
      take_elif();
      ExpressionPtr condition = parse_tuple(false);
      expect_block_end();
      statement.branches.emplace_back(std::move(condition), parse_body({"elif", "else", "endif"}));
    } while (at(Kind::name, "elif", 1));
    if (at(Kind::name, "else", 1)) {
      expect_end("else");
      statement.otherwise = parse_body({"endif"});
    }
    expect_end("endif");
    return statement;
  }

  void take_elif() {  // {% elif, where the next branch begins
    if (peek().kind == Kind::block_begin) take(), take();
  }

  // x, or x, y: names to assign to. True if there is a comma, so that the value is unpacked.
  bool parse_targets(std::vector<std::string>& targets) {
    const bool bracket = accept_op("(");
    bool unpack = false;
    targets.push_back(expect_name());
    while (accept_op(",")) {
      unpack = true;
      if (peek().kind != Kind::name || at_word("in")) break;
      targets.push_back(expect_name());
    }
    if (bracket) expect_op(")");
    return unpack;
  }

  For parse_for() {
    For statement;
    statement.unpack = parse_targets(statement.targets);
    if (!accept_word("in")) fail_unexpected("'in'");
    statement.items = parse_tuple(false);
    if (accept_word("if")) statement.condition = parse_expression();
    if (at_word("recursive")) fail("a recursive loop is not supported");
    expect_block_end();
    ++loops_;
    statement.body = parse_body({"else", "endfor"});
    --loops_;
    if (at(Kind::name, "else", 1)) {
      expect_end("else");
      statement.otherwise = parse_body({"endfor"});
    }
    expect_end("endfor");
    return statement;
  }

  Statement parse_set(int line) {
    std::vector<std::string> targets;
    std::string attribute;
    const bool unpack = parse_targets(targets);
    if (!unpack && accept_op(".")) attribute = expect_name();
    if (accept_op("=")) {
      ExpressionPtr value = parse_tuple();
      expect_block_end();
      return {line, Set{std::move(targets), unpack, std::move(attribute), std::move(value)}};
    }
    if (unpack) fail_unexpected("'='");
    std::vector<ExpressionPtr> filters;
    if (accept_op("|")) filters = parse_block_filters();
    expect_block_end();
    Body body = parse_body({"endset"});
    expect_end("endset");
    return {line, SetBlock{std::move(targets[0]), std::move(attribute), std::move(filters), std::move(body)}};
  }

  MacroDefinition parse_macro() {
    MacroDefinition macro;
    macro.name = expect_name();
    expect_op("(");
    while (!accept_op(")")) {
      if (!macro.parameters.empty()) expect_op(",");
      std::string name = expect_name();
      ExpressionPtr otherwise = accept_op("=") ? parse_expression() : nullptr;
      macro.parameters.emplace_back(std::move(name), std::move(otherwise));
    }
    expect_block_end();
    const int loops = std::exchange(loops_, 0);
    macro.body = parse_body({"endmacro"});
    loops_ = loops;
    expect_end("endmacro");
    return macro;
  }

  FilterBlock parse_filter_block() {
    FilterBlock block;
    block.filters = parse_block_filters();
    expect_block_end();
    block.body = parse_body({"endfilter"});
    expect_end("endfilter");
    return block;
  }

  Scoped parse_with() {
    Scoped block;
    while (peek().kind != Kind::block_end) {
      if (!block.names.empty()) expect_op(",");
      std::string name = expect_name();
      expect_op("=");
      block.names.emplace_back(std::move(name), parse_expression());
    }
    expect_block_end();
    block.body = parse_body({"endwith"});
    expect_end("endwith");
    return block;
  }

  // {% generation %}: marks what the assistant says; here its content is all that matters.
  Scoped parse_generation() {
    Scoped block;
    expect_block_end();
    block.body = parse_body({"endgeneration"});
    expect_end("endgeneration");
    return block;
  }

  int loops_ = 0;  // around the statement being parsed
};

}  // namespace

Body parse_template(std::string_view source) { return TemplateParser(tokenize(source)).parse(); }

}  // namespace mora::jinja
