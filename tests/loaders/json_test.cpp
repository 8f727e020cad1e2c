#include "loaders/json.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <nlohmann/json.hpp>

#include "engine/error.h"
#include "loaders/temporary_directory.h"

namespace mora {
namespace {

using test::error_of;
using test::TemporaryDirectory;

std::string parse_error(const std::string& text) {
  return error_of<IoError>([&] { parse_json(text, "f.json"); });
}

std::string nested(int depth) { return std::string(depth, '[') + std::string(depth, ']'); }

TEST(Json, ParsesEveryKindOfValue) {
  const auto value =
      parse_json(R"( {"a": [1, -2, 2.5, true, null, "é\n\u00e9"], "b": {"c": {}}, "": 18446744073709551615} )", "f");
  EXPECT_EQ(value["a"][0], 1);
  EXPECT_EQ(value["a"][1], -2);
  EXPECT_EQ(value["a"][2], 2.5);
  EXPECT_EQ(value["a"][5].get<std::string>(), "é\né");
  EXPECT_TRUE(value["a"][4].is_null());
  EXPECT_EQ(value["b"]["c"], nlohmann::json::object());
  EXPECT_EQ(value[""].get<uint64_t>(), UINT64_MAX);
  EXPECT_EQ(parse_json("3", "f"), 3);
}

TEST(Json, SameKeyInDifferentObjectsIsLegal) {
  EXPECT_EQ(parse_json(R"({"a":{"x":1},"b":{"x":2}})", "f")["b"]["x"], 2);
}

TEST(Json, DepthIsBounded) {
  EXPECT_NO_THROW(parse_json(nested(128), "f"));
  EXPECT_EQ(parse_error(nested(129)), "f.json: line 1: nested more than 128 deep");
  EXPECT_EQ(parse_error(std::string(1 << 20, '[')), "f.json: line 1: nested more than 128 deep");
}

TEST(Json, MalformedTextEndsInOneLineWithItsPlace) {
  const struct {
    std::string text, message;
  } cases[] = {
      {"", "f.json: empty, expected JSON"},
      {"{\"a\":1,\n\"b\":2,\n\"a\":3}", "f.json: line 3: duplicate key \"a\""},
      {"{\"a\":{\"b\":1,\"b\":1}}", "f.json: line 1: duplicate key \"b\""},
      {"{\"a\\n\":1,\"a\\u000a\":1}", "f.json: line 1: duplicate key \"a\\n\""},
      {"\xEF\xBB\xBF{}", "f.json: line 1: begins with a byte order mark (BOM); save it as UTF-8 without one"},
      {std::string("\xFF\xFE{\0}\0", 6), "f.json: line 1: begins with a byte order mark"},
      {"\n{\n", "f.json: line 3: syntax error while parsing object key - unexpected end of input"},
      {"{} x", "f.json: line 1: syntax error while parsing value - invalid literal"},
      {"{}\n{}", "f.json: line 2: syntax error while parsing value - unexpected '{'; expected end of input"},
      {"[1,]", "f.json: line 1: syntax error"},
      {"{'a':1}", "f.json: line 1: syntax error"},
      {"[NaN]", "f.json: line 1: syntax error"},
      {"{\"a\": {\"b\": 1}, \"theta\": NaN}", "f.json: line 1: \"theta\": syntax error"},
      {"[1e999]", "f.json: line 1: number overflow"},
      {"[\"\xC3\x28\"]", "f.json: line 1: syntax error while parsing value - invalid string: ill-formed UTF-8 byte"},
      {"[\"\\ud800\"]", "f.json: line 1: syntax error while parsing value - invalid string: surrogate U+D800"},
      {std::string("[\"a\0\"]", 6),
       "f.json: line 1: syntax error while parsing value - invalid string: control character"},
      {std::string(9, '\0'), "f.json: line 1: syntax error"},
  };
  for (const auto& c : cases) {
    const std::string message = parse_error(c.text);
    EXPECT_TRUE(message.starts_with(c.message)) << "got      " << message << "\nexpected " << c.message;
    EXPECT_LT(message.size(), 300u);
  }
}

TEST(Json, LongKeysAreCutInMessages) {
  const std::string key(1 << 20, 'k');
  EXPECT_LT(parse_error("{\"" + key + "\":1,\"" + key + "\":2}").size(), 200u);
}

TEST(Json, ReadsRegularFilesOnly) {
  TemporaryDirectory dir;
  EXPECT_EQ(read_json(dir.write("a.json", "[1]"))[0], 1);
  const auto message = [&](const std::string& name, size_t max_bytes = 100) {
    return error_of<IoError>([&] { read_json(dir / name, max_bytes); }).substr(dir.path().string().size() + 1);
  };
  std::filesystem::create_symlink("a.json", dir / "link");
  EXPECT_EQ(read_json(dir / "link")[0], 1);
  std::filesystem::create_symlink("nowhere", dir / "dangling");
  EXPECT_EQ(message("dangling"), "dangling: a symbolic link to a file that does not exist");
  std::filesystem::create_directory(dir / "sub");
  EXPECT_EQ(message("sub"), "sub: a directory, expected a regular file");
  ASSERT_EQ(::mkfifo((dir / "fifo").c_str(), 0600), 0);
  EXPECT_EQ(message("fifo"), "fifo: a named pipe, expected a regular file");
  EXPECT_EQ(message("missing"), "missing: cannot open: No such file or directory");
  EXPECT_EQ(message("a.json", 2), "a.json: 3 bytes, at most 2 are read");
  EXPECT_EQ(error_of<IoError>([] { read_json("/dev/zero"); }), "/dev/zero: a device, expected a regular file");
}

}  // namespace
}  // namespace mora
