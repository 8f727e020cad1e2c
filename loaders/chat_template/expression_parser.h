// The expressions of Jinja: recursive descent, one function a level of precedence.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "loaders/chat_template/ast.h"
#include "loaders/chat_template/lexer.h"

namespace mora::jinja {

class ExpressionParser {
 public:
  explicit ExpressionParser(std::vector<Token> tokens) : tokens_(std::move(tokens)) {}

 protected:
  static constexpr int kMaxDepth = 200;  // of the tree, and of the parser's own recursion

  // Counts the recursion of the parser.
  struct Level {
    explicit Level(ExpressionParser& parser) : owner(parser) {
      if (++owner.level_ > kMaxDepth) owner.fail("nested too deep");
    }
    ~Level() { --owner.level_; }
    ExpressionParser& owner;
  };

  [[noreturn]] void fail(std::string message) const;
  [[noreturn]] void fail_unexpected(std::string_view expected) const;

  const Token& peek(size_t ahead = 0) const { return tokens_[std::min(at_ + ahead, tokens_.size() - 1)]; }
  Token take();
  bool at(Token::Kind kind, std::string_view text, size_t ahead = 0) const;
  bool at_op(std::string_view text) const { return at(Token::Kind::op, text); }
  bool at_word(std::string_view text) const { return at(Token::Kind::name, text); }
  bool accept_op(std::string_view text);
  bool accept_word(std::string_view text);
  void expect_op(std::string_view text);
  std::string expect_name();

  ExpressionPtr parse_expression(bool with_condition = true);
  ExpressionPtr parse_tuple(bool with_condition = true);  // a, b without brackets; one expression is itself
  ExpressionPtr parse_or();
  ExpressionPtr parse_filters(ExpressionPtr input);  // | a | b(c); input is null in a block's filters
  std::vector<ExpressionPtr> parse_block_filters();  // a | b(c)
  CallArguments parse_arguments();

 private:
  template <class Node>
  ExpressionPtr make(int line, Node node) const;

  ExpressionPtr parse_and();
  ExpressionPtr parse_not();
  ExpressionPtr parse_compare();
  ExpressionPtr parse_sum();
  ExpressionPtr parse_concatenation();
  ExpressionPtr parse_product();
  ExpressionPtr parse_power();
  ExpressionPtr parse_unary(bool with_filters = true);
  ExpressionPtr parse_primary();
  ExpressionPtr parse_number(const Token& token) const;
  ExpressionPtr parse_list(int line);
  ExpressionPtr parse_dict(int line);
  ExpressionPtr parse_postfix(ExpressionPtr object);
  ExpressionPtr parse_subscript(ExpressionPtr object, int line);
  ExpressionPtr parse_filter_call(ExpressionPtr input);
  ExpressionPtr parse_test(ExpressionPtr input);
  ExpressionPtr parse_filters_and_tests(ExpressionPtr value);

  std::vector<Token> tokens_;
  size_t at_ = 0;
  int level_ = 0;
};

}  // namespace mora::jinja
