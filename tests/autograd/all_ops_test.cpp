// No op is left out: neither from the list of ops nor of any kind of sample.
#include "autograd/ops/all.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "op_samples/sample.h"

namespace mora::test {
namespace {

const std::filesystem::path ops_folder = std::filesystem::path(MORA_SOURCE_DIR) / "autograd" / "ops";

std::vector<std::string> lines_of(const std::filesystem::path& path) {
  std::vector<std::string> lines;
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) lines.push_back(line);
  return lines;
}

// The word of `line` after `prefix`, which it starts with; else nothing.
std::string word_after(const std::string& line, const std::string& prefix) {
  if (!line.starts_with(prefix)) return "";
  return line.substr(prefix.size(), line.find_first_of(" <;", prefix.size()) - prefix.size());
}

// Op structs (a name is their first member), and the names of the instances of op templates.
std::vector<std::string> ops_in(const std::vector<std::string>& header) {
  std::vector<std::string> ops;
  for (size_t i = 1; i + 1 < header.size(); ++i) {
    const std::string op = word_after(header[i], "struct ");
    if (op.empty() || header[i + 1].find("static constexpr std::string_view name") == std::string::npos) continue;
    if (!header[i - 1].starts_with("template <")) {
      ops.push_back(op);
      continue;
    }
    for (const std::string& line : header) {
      const std::string instance = word_after(line, "using ");
      if (!instance.empty() && line.find(" = " + op + "<") != std::string::npos) ops.push_back(instance);
    }
  }
  return ops;
}

TEST(AllOpsTest, ListsEveryOpOfTheHeaders) {
  std::string list;
  for (const std::string& line : lines_of(ops_folder / "all.h")) list += line + "\n";
  size_t found = 0;
  for (const auto& entry : std::filesystem::directory_iterator(ops_folder)) {
    if (entry.path().extension() != ".h") continue;
    for (const std::string& op : ops_in(lines_of(entry.path()))) {
      ++found;
      const bool listed =
          list.find("ops::" + op + ",") != std::string::npos || list.find("ops::" + op + ">") != std::string::npos;
      EXPECT_TRUE(listed) << op << " of " << entry.path() << " is missing in all.h";
    }
  }
  EXPECT_EQ(found, all_samples().size()) << "all.h lists what the headers do not show, or the other way";
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
