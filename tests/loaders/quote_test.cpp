#include "loaders/quote.h"

#include <gtest/gtest.h>

#include <cstdio>

namespace mora {
namespace {

std::string read_back(const std::string& word) {
  std::FILE* shell = ::popen(("printf %s " + shell_quote(word)).c_str(), "r");
  std::string text;
  for (int c = 0; (c = std::fgetc(shell)) != EOF;) text += char(c);
  ::pclose(shell);
  return text;
}

TEST(ShellQuote, AShellReadsTheWordBack) {
  for (const std::string word :
       {"plain/path-1.yaml", "a b", "it's", "$HOME `id` \"x\"", "optimizer.sam={kind: sam}", "*", "line\nbreak", "\\"})
    EXPECT_EQ(read_back(word), word);
  EXPECT_EQ(shell_quote("optimizer.lr=1e-4"), "optimizer.lr=1e-4");  // nothing to protect
  EXPECT_EQ(shell_quote(""), "''");
}

}  // namespace
}  // namespace mora
