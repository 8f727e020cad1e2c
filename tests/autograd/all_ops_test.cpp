// No op is left out: neither from the list of ops nor of any kind of sample.
#include "autograd/ops/all.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <regex>
#include <sstream>

#include "op_samples/sample.h"

namespace mora::test {
namespace {

const std::filesystem::path ops_folder = std::filesystem::path(MORA_SOURCE_DIR) / "autograd" / "ops";

std::string text_of(const std::filesystem::path& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

std::vector<std::string> matches(const std::string& text, const std::string& pattern) {
  const std::regex regex(pattern);
  std::vector<std::string> found;
  for (std::sregex_iterator it(text.begin(), text.end(), regex), end; it != end; ++it) found.push_back((*it)[1]);
  return found;
}

// Op structs, and the names of the instances of op templates.
std::vector<std::string> ops_in(const std::string& header) {
  const std::string body = R"([^\n]*\n\s*static constexpr std::string_view name)";
  auto ops = matches(header, R"(\nstruct (\w+) \{)" + body);
  for (const auto& family : matches(header, R"(\ntemplate <[^\n]*>\nstruct (\w+) \{)" + body)) {
    std::erase(ops, family);
    const auto instances = matches(header, R"(\nusing (\w+) = )" + family + "<");
    ops.insert(ops.end(), instances.begin(), instances.end());
  }
  return ops;
}

TEST(AllOpsTest, ListsEveryOpOfTheHeaders) {
  const std::string list = text_of(ops_folder / "all.h");
  size_t found = 0;
  for (const auto& entry : std::filesystem::directory_iterator(ops_folder)) {
    if (entry.path().extension() != ".h") continue;
    for (const std::string& op : ops_in(text_of(entry.path()))) {
      ++found;
      EXPECT_TRUE(std::regex_search(list, std::regex("ops::" + op + "\\b")))
          << op << " of " << entry.path() << " is missing in all.h";
    }
  }
  EXPECT_EQ(found, all_samples().size())
      << "a struct or an alias of all.h that the headers do not show, or the other way";
}

TEST(AllOpsTest, EveryOpHasSamplesOfEachKind) {
  for (const auto& [op, samples] : all_samples()) {
    auto any = [&samples = samples](auto&& is) { return std::any_of(samples.begin(), samples.end(), is); };
    EXPECT_TRUE(any([](const Sample& s) { return s.error.empty() && !s.empty(); })) << op << ": no sample";
    EXPECT_TRUE(any([](const Sample& s) { return s.error.empty() && s.empty(); })) << op << ": no sample of size zero";
    const bool takes_everything = op == "alias" || op == "contiguous";
    EXPECT_NE(any([](const Sample& s) { return !s.error.empty(); }), takes_everything) << op << ": wrong inputs";
  }
}

}  // namespace
}  // namespace mora::test
