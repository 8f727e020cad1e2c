// Shell completion and man page through the binary: what they list is what the commands declare.
#include <gtest/gtest.h>

#include "cli/program.h"
#include "loaders/temporary_directory.h"

namespace {

using mora::test::content;

struct Completion : ::testing::Test {
  mora::test::TemporaryDirectory directory;

  std::string print(const std::string& kind) const {
    EXPECT_EQ(mora::test::exit_code(
                  mora::test::start_mora({"completion", kind}, "/dev/null", directory / kind, directory / "err.txt")),
              0)
        << content(directory / "err.txt");
    return content(directory / kind);
  }
  int shell(const std::string& script) const {
    return std::system(("bash -c '" + script + "' > " + (directory / "shown").string()).c_str());
  }
};

TEST_F(Completion, BashCompletesCommandsAndTheirOptions) {
  print("bash");
  const std::string source = "source " + (directory / "bash").string() + "; ";
  ASSERT_EQ(shell(source + "COMP_WORDS=(mora swe); COMP_CWORD=1; _mora; echo ${COMPREPLY[@]}"), 0);
  EXPECT_EQ(content(directory / "shown"), "sweep\n");
  ASSERT_EQ(shell(source + "COMP_WORDS=(mora generate --max); COMP_CWORD=2; _mora; echo ${COMPREPLY[@]}"), 0);
  EXPECT_EQ(content(directory / "shown"), "--max-tokens\n");
}

TEST_F(Completion, ZshAndManNameEveryCommand) {
  const std::string zsh = print("zsh"), man = print("man");
  for (const std::string command : {"train", "report", "completion"}) {
    EXPECT_NE(zsh.find("'" + command + ":"), std::string::npos) << command;
    EXPECT_NE(man.find(".SS mora " + command), std::string::npos) << command;
  }
  EXPECT_TRUE(zsh.starts_with("#compdef mora\n"));
  EXPECT_NE(zsh.find("'--resume["), std::string::npos);
  EXPECT_NE(man.find(".B \\-\\-resume\n"), std::string::npos);
}

}  // namespace
