#include "loaders/safetensors.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <chrono>
#include <cstring>

#include "engine/error.h"
#include "loaders/temporary_directory.h"

namespace mora {
namespace {

using test::error_of;
using test::read_bytes;
using test::TemporaryDirectory;

std::string with_length(uint64_t length, const std::string& rest) {
  std::string bytes(8, '\0');
  std::memcpy(bytes.data(), &length, 8);
  return bytes + rest;
}

std::string file_of(const std::string& header, size_t data_bytes = 0) {
  return with_length(header.size(), header + std::string(data_bytes, '\x01'));
}

// A header with one tensor 't' of the given fields.
std::string one(const std::string& fields) { return "{\"t\":{" + fields + "}}"; }
std::string one(const std::string& dtype, const std::string& shape, const std::string& offsets) {
  return one(fmt::format(R"("dtype":{},"shape":{},"data_offsets":{})", dtype, shape, offsets));
}

struct Case {
  std::string content, message;  // what follows "FILE: "; "…" at its end: the start of it
};

void expect_error(const Case& c) {
  TemporaryDirectory dir;
  const auto file = dir.write("m.safetensors", c.content);
  const std::string message = error_of<IoError>([&] { SafetensorsFile::open(file); });
  std::string expected = file.string() + ": " + c.message;
  if (expected.ends_with("…")) {
    expected.resize(expected.size() - std::strlen("…"));
    EXPECT_EQ(message.substr(0, expected.size()), expected);
  } else {
    EXPECT_EQ(message, expected);
  }
  EXPECT_LT(message.size(), 600u);
}

TEST(Safetensors, MalformedLengthsEndInOneLine) {
  const std::string begins = " bytes, a safetensors file begins with 8 that hold its header's length";
  for (size_t n = 0; n < 8; ++n) expect_error({std::string(n, 'x'), fmt::format("only {}{}", n, begins)});
  const Case cases[] = {
      {with_length(0, ""), "header: empty, expected JSON"},
      {with_length(1, "{"), "header: line 1: syntax error…"},
      {with_length(UINT64_MAX, "{}"), "header length 18446744073709551615 is over the format's limit of 100000000"},
      {with_length(100'000'001, "{}"), "header length 100000001 is over the format's limit of 100000000"},
      {with_length(100'000'000, "{}"), "truncated: the header has 100000000 bytes, the file 2 after its length"},
      {with_length(3, "{}"), "truncated: the header has 3 bytes, the file 2 after its length"},
      {with_length(1, "{}"), "header: line 1: syntax error…"},
  };
  for (const Case& c : cases) expect_error(c);
}

TEST(Safetensors, MalformedHeadersEndInOneLine) {
  const std::string good = R"("dtype":"U8","shape":[1],"data_offsets":[0,1])";
  const Case cases[] = {
      {file_of("{\"\xFF\":1}"), "header: not UTF-8"},
      {file_of("[]"), "header: expected an object, got array"},
      {file_of("{"), "header: line 1: syntax error…"},
      {file_of("{} x"), "header: line 1: syntax error…"},
      {file_of("{}{}"), "header: line 1: syntax error…"},
      {file_of("\xEF\xBB\xBF{}"), "header: line 1: begins with a byte order mark (BOM)…"},
      {file_of("{\"t\":" + std::string(200, '[') + std::string(200, ']') + "}"),
       "header: line 1: nested more than 128 deep"},
      {file_of("{\"t\":{" + good + "},\"t\":{" + good + "}}", 1), "header: line 1: duplicate key \"t\""},
      {file_of(one("\"dtype\":\"U8\"," + good), 1), "header: line 1: duplicate key \"dtype\""},
      {file_of(R"({"__metadata__":{},"__metadata__":{}})"), "header: line 1: duplicate key \"__metadata__\""},
      {file_of(R"({"__metadata__":[]})"), "__metadata__: expected an object, got array"},
      {file_of(R"({"__metadata__":{"a":1}})"), "__metadata__: 'a': expected a string, got number"},
      {file_of(R"({"t":[]})"), "tensor 't': expected an object, got array"},
      {file_of(one(R"("shape":[1],"data_offsets":[0,1])"), 1), "tensor 't': dtype is missing"},
      {file_of(one(R"("dtype":"U8","data_offsets":[0,1])"), 1), "tensor 't': shape is missing"},
      {file_of(one(R"("dtype":"U8","shape":[1])"), 1), "tensor 't': data_offsets is missing"},
      {file_of(one("null", "[1]", "[0,1]"), 1), "tensor 't': dtype: expected a string, got null"},
      {file_of(one("\"U8\"", "null", "[0,1]"), 1), "tensor 't': shape: expected an array, got null"},
      {file_of(one("\"U8\"", "[1]", "null"), 1), "tensor 't': data_offsets: expected an array, got null"},
      {file_of(one("\"U8\"", "[1]", "[0]"), 1), "tensor 't': data_offsets: expected 2 numbers, got 1"},
      {file_of(one("\"U8\"", "[1]", "[0,1,2]"), 1), "tensor 't': data_offsets: expected 2 numbers, got 3"},
      {file_of(one("\"U8\"", "[-1]", "[0,1]"), 1), "tensor 't': shape: expected integers from 0 to 2^64-1, got '-1'"},
      {file_of(one("\"U8\"", "[1.0]", "[0,1]"), 1), "tensor 't': shape: expected integers from 0 to 2^64-1, got '1.0'"},
      {file_of(one("\"U8\"", "[1e3]", "[0,1]"), 1),
       "tensor 't': shape: expected integers from 0 to 2^64-1, got '1000.0'"},
      {file_of(one("\"U8\"", "[36893488147419103232]", "[0,1]"), 1),
       "tensor 't': shape: expected integers from 0 to 2^64-1, got '3.6893488147419103e+19'"},
      {file_of(one("\"U8\"", "[1]", "[-1,0]"), 1),
       "tensor 't': data_offsets: expected integers from 0 to 2^64-1, got '-1'"},
      {file_of(one("\"U8\"", "[1]", "[0,1e3]"), 1),
       "tensor 't': data_offsets: expected integers from 0 to 2^64-1, got '1000.0'"},
      {file_of(one("\"U8\"", "[1]", "[0,18446744073709551616]"), 1),
       "tensor 't': data_offsets: expected integers from 0 to 2^64-1, got '1.8446744073709552e+19'"},
      {file_of(one("\"U8\"", "[\"1\"]", "[0,1]"), 1),
       "tensor 't': shape: expected integers from 0 to 2^64-1, got 'string'"},
      {file_of(one("\"Q8\"", "[1]", "[0,1]"), 1), "tensor 't': dtype: 'Q8' is none of the format's types"},
      {file_of(one("\"f32\"", "[1]", "[0,4]"), 4), "tensor 't': dtype: 'f32' is none of the format's types"},
      {file_of("{\"\\ud800\":{" + good + "}}", 1), "header: line 1: syntax error…"},
  };
  for (const Case& c : cases) expect_error(c);
}

TEST(Safetensors, MalformedLayoutsEndInOneLine) {
  const auto two = [](const std::string& a, const std::string& b, size_t bytes) {
    return file_of(fmt::format(R"({{"a":{{"dtype":"U8","shape":[2],"data_offsets":{}}},)"
                               R"("b":{{"dtype":"U8","shape":[2],"data_offsets":{}}}}})",
                               a, b),
                   bytes);
  };
  const std::string big = "9223372036854775808";  // 2^63
  const Case cases[] = {
      {file_of(one("\"U8\"", "[1]", "[1,0]"), 1), "tensor 't': data_offsets: end 0 is before begin 1"},
      {file_of(one("\"U8\"", "[1]", "[1,2]"), 2),
       "tensor 't': data_offsets: begins at 1, expected 0 (a hole before it)"},
      {two("[0,2]", "[1,3]", 3), "tensor 'b': data_offsets: begins at 1, expected 2 (it overlaps the tensor before)"},
      {two("[0,2]", "[3,5]", 5), "tensor 'b': data_offsets: begins at 3, expected 2 (a hole before it)"},
      {two("[0,2]", "[0,2]", 2), "tensor 'b': data_offsets: begins at 0, expected 2 (it overlaps the tensor before)"},
      {file_of(one("\"F32\"", "[2,2]", "[0,12]"), 12),
       "tensor 't': shape (2, 2) of F32 needs 16 bytes, data_offsets span 12"},
      {file_of(one("\"U8\"", "[]", "[0,0]"), 0), "tensor 't': shape () of U8 needs 1 bytes, data_offsets span 0"},
      {file_of(one("\"F4\"", "[3]", "[0,2]"), 2), "tensor 't': shape (3) of F4 is no whole number of bytes"},
      {file_of(one("\"U8\"", "[" + big + ",4]", "[0,1]"), 1),
       "tensor 't': shape (9223372036854775808, 4) of U8 overflows 64 bits"},
      {file_of(one("\"U8\"", "[" + big + ",4,0]", "[0,0]")),
       "tensor 't': shape (9223372036854775808, 4, 0) of U8 overflows 64 bits"},
      {file_of(one("\"F32\"", "[" + big + "]", "[0,1]"), 1),
       "tensor 't': shape (9223372036854775808) of F32 overflows 64 bits"},
      {file_of(one("\"U8\"", "[4]", "[0,4]"), 3),
       "truncated: the tensors need 4 bytes of data, the file has 3; copy it anew"},
      {file_of(one("\"U8\"", "[4]", "[0,4]"), 0),
       "truncated: the tensors need 4 bytes of data, the file has 0; copy it anew"},
      {file_of(one("\"U8\"", "[4]", "[0,4]"), 7), "3 trailing bytes after the last tensor"},
      {file_of("{}", 1), "1 trailing bytes after the last tensor"},
  };
  for (const Case& c : cases) expect_error(c);
}

TEST(Safetensors, NamesOfAnyKindStayInOneLine) {
  const std::string fields = R"(":{"dtype":"U8","shape":[2],"data_offsets":[0,1]}})";
  const std::string span = " of U8 needs 2 bytes, data_offsets span 1";
  expect_error({file_of("{\"a\\u0000\\nb" + fields, 1), "tensor 'a\\x00\\x0ab': shape (2)" + span});
  expect_error({file_of("{\"../../etc" + fields, 1), "tensor '../../etc': shape (2)" + span});
  expect_error({file_of("{\"" + std::string(1 << 20, 'n') + fields, 1),
                "tensor '" + std::string(80, 'n') + "…': shape (2)" + span});
  std::string shape = "[1";
  for (int i = 1; i < 100'000; ++i) shape += ",1";
  expect_error(
      {file_of(one("\"U8\"", shape + "]", "[0,2]"), 2), "tensor 't': shape: 100000 dimensions, at most 64 are read"});
}

TEST(Safetensors, WhatTheFormatAllowsIsRead) {
  TemporaryDirectory dir;
  const auto open = [&](const std::string& content) {
    return SafetensorsFile::open(dir.write("m.safetensors", content));
  };
  EXPECT_TRUE(open(file_of("{}")).tensors().empty());
  EXPECT_TRUE(open(file_of(" \n\t{} ")).tensors().empty());
  EXPECT_EQ(open(file_of(R"({"__metadata__":{"format":"pt","":"x"}})")).metadata().at(""), "x");
  EXPECT_EQ(open(file_of(one("\"U8\"", "[]", "[0,1]"), 1)).tensor("t").shape(), Shape{});
  EXPECT_EQ(open(file_of(one("\"F32\"", "[0,9223372036854775808,4]", "[0,0]"))).find("t")->shape[1], 1ull << 63);
  EXPECT_EQ(
      open(file_of(one(R"("dtype":"U8","shape":[1],"data_offsets":[0,1],"extra":[{"x":null}])"), 1)).tensors().size(),
      1u);
  EXPECT_EQ(open(file_of("{\"a\\u0000b\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1))
                .find(std::string_view("a\0b", 3))
                ->bytes(),
            1u);
  for (const char* dtype : {"F8_E5M2", "F8_E4M3", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ", "I8"})
    EXPECT_EQ(open(file_of(one(fmt::format("\"{}\"", dtype), "[3]", "[0,3]"), 3)).find("t")->dtype, dtype);
  for (const char* dtype : {"F6_E2M3", "F6_E3M2"})
    EXPECT_EQ(open(file_of(one(fmt::format("\"{}\"", dtype), "[4]", "[0,3]"), 3)).find("t")->bytes(), 3u);
  const auto reversed = open(file_of(
      R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[1,3]},"b":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})",
      3));
  EXPECT_EQ(reversed.tensors()[0].name, "b");
}

TEST(Safetensors, ValuesAreNotJudged) {
  TemporaryDirectory dir;
  const std::string nan_inf("\0\0\xC0\x7F\0\0\x80\x7F", 8);
  const auto file = SafetensorsFile::open(
      dir.write("m", with_length(one("\"F32\"", "[2]", "[0,8]").size(), one("\"F32\"", "[2]", "[0,8]") + nan_inf)));
  const Tensor t = file.tensor("t");
  EXPECT_TRUE(std::isnan(t.data<float>()[0]));
  EXPECT_TRUE(std::isinf(t.data<float>()[1]));
}

TEST(Safetensors, TensorsAliasTheMapWhereTheyAreAligned) {
  TemporaryDirectory dir;
  const std::string header = R"({"u":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},)"
                             R"("f":{"dtype":"F32","shape":[2],"data_offsets":[1,9]},)"
                             R"("g":{"dtype":"F32","shape":[1],"data_offsets":[9,13]},)"
                             R"("b":{"dtype":"BOOL","shape":[2],"data_offsets":[13,15]}})";
  const float values[2] = {1.5f, -2.0f};
  for (size_t padding = 0; padding < 8; ++padding) {  // every alignment of f
    std::string content = with_length(header.size() + padding, header + std::string(padding, ' ') + "\x05");
    content.append(reinterpret_cast<const char*>(values), 8).append(4, '\0').append(std::string("\x07\0", 2));
    const auto file = SafetensorsFile::open(dir.write("m", content));
    const Tensor f = file.tensor("f");
    EXPECT_EQ(f.storage()->is_foreign(), (8 + header.size() + padding + 1) % 4 == 0);
    EXPECT_EQ(f.data<float>()[0], 1.5f);
    EXPECT_EQ(f.data<float>()[1], -2.0f);
    EXPECT_TRUE(file.tensor("u").storage()->is_foreign());
    EXPECT_EQ(file.tensor("b").data<bool>()[0], true);  // the byte 7
    EXPECT_EQ(file.tensor("b").data<bool>()[1], false);
  }
}

TEST(Safetensors, TensorsOutliveTheFile) {
  TemporaryDirectory dir;
  Tensor t;
  {
    write_safetensors(dir / "m", {{"t", Tensor::from<float>({1, 2, 3}, {3})}});
    t = SafetensorsFile::open(dir / "m").tensor("t");
    std::filesystem::remove(dir / "m");
  }
  EXPECT_TRUE(t.storage()->is_foreign());
  EXPECT_EQ(t.data<float>()[2], 3.0f);
}

TEST(Safetensors, WhatCannotBeATensorSaysWhy) {
  TemporaryDirectory dir;
  const auto file = dir.write(
      "m",
      file_of(
          R"({"u":{"dtype":"U8","shape":[1],"data_offsets":[3,4]},"i":{"dtype":"I16","shape":[1],"data_offsets":[0,2]},)"
          R"("r":{"dtype":"U8","shape":[1,1,1,1,1,1,1,1,1],"data_offsets":[2,3]}})",
          4));
  const auto opened = SafetensorsFile::open(file);
  const auto message = [&](const char* name) { return error_of<IoError>([&] { opened.tensor(name); }); };
  EXPECT_EQ(message("i"),
            file.string() + ": tensor 'i': MoRA does not compute with I16 (F64 F32 F16 BF16 I64 I32 U8 BOOL)");
  EXPECT_EQ(message("r"), file.string() + ": tensor 'r': 9 dimensions, MoRA's tensors have at most 8");
  EXPECT_EQ(message("x"), file.string() + ": has no tensor 'x'");
  std::filesystem::resize_file(file, 20);
  EXPECT_TRUE(message("u").ends_with("bytes while it was open")) << message("u");
}

TEST(Safetensors, NoRegularFileIsAnErrorAtOnce) {
  TemporaryDirectory dir;
  const auto message = [&](const char* name) { return error_of<IoError>([&] { SafetensorsFile::open(dir / name); }); };
  ASSERT_EQ(::mkfifo((dir / "fifo").c_str(), 0600), 0);
  EXPECT_EQ(message("fifo"), (dir / "fifo").string() + ": a named pipe, expected a regular file");
  EXPECT_EQ(message(""), (dir / "").string() + ": a directory, expected a regular file");
  EXPECT_EQ(message("no"), (dir / "no").string() + ": cannot open: No such file or directory");
}

TEST(Safetensors, AMillionTinyTensorsTakeBoundedTime) {
  std::string header = "{";
  constexpr int count = 1'000'000;
  header.reserve(80'000'000);
  for (int i = 0; i < count; ++i)
    header += fmt::format(R"({}"t{}":{{"dtype":"U8","shape":[1],"data_offsets":[{},{}]}})", i ? "," : "", i, i, i + 1);
  header += '}';
  TemporaryDirectory dir;
  const auto path = dir.write("m", file_of(header, count));
  const auto start = std::chrono::steady_clock::now();
  const auto file = SafetensorsFile::open(path);
  EXPECT_EQ(file.tensors().size(), size_t{count});
  EXPECT_EQ(file.find("t999999")->begin, 999'999u);
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(60));
}

TEST(Safetensors, ReadsAndRewritesTheReferenceWritersFileByteForByte) {
  const std::filesystem::path golden = MORA_SOURCE_DIR "/tests/goldens/safetensors.safetensors";
  const auto file = SafetensorsFile::open(golden);
  EXPECT_EQ(file.tensors().size(), 33u);
  EXPECT_EQ(file.metadata(), (StringMap{{"format", "pt"}}));
  EXPECT_EQ(file.tensor("z.f64").shape(), (Shape{2, 3}));
  for (int i = 0; i < 6; ++i) {
    EXPECT_EQ(file.tensor("z.f64").data<double>()[i], i);
    EXPECT_EQ(file.tensor("z.f32").data<float>()[i], static_cast<float>(i));
    EXPECT_EQ(static_cast<float>(file.tensor("z.f16").data<f16_t>()[i]), static_cast<float>(i));
    EXPECT_EQ(static_cast<float>(file.tensor("z.bf16").data<bf16_t>()[i]), static_cast<float>(i));
    EXPECT_EQ(file.tensor("z.i64").data<int64_t>()[i], i);
    EXPECT_EQ(file.tensor("z.i32").data<int32_t>()[i], i);
    EXPECT_EQ(file.tensor("z.u8").data<uint8_t>()[i], i);
    EXPECT_EQ(file.tensor("z.bool").data<bool>()[i], i % 2 == 1);
  }
  std::map<std::string, Tensor> tensors;
  for (const TensorInfo& info : file.tensors()) tensors.emplace(info.name, file.tensor(info));
  EXPECT_EQ(tensors.at("empty.f32").shape(), (Shape{0, 5}));
  TemporaryDirectory dir;
  write_safetensors(dir / "m", tensors);
  EXPECT_EQ(read_bytes(dir / "m"), read_bytes(golden));
}

TEST(Safetensors, WritesOneTensorAtATime) {
  TemporaryDirectory dir;
  std::vector<std::string> loaded;
  std::vector<TensorToWrite> tensors;
  for (const DType dtype : {DType::boolean, DType::bf16, DType::i64, DType::f32})
    for (const char* name : {"b", "a"}) {
      const std::string full = std::string(name) + "." + std::string(name_of(dtype));
      tensors.push_back({full, Meta{{2}, dtype}, [&loaded, full, dtype] {
                           loaded.push_back(full);
                           return Tensor::zeros({2}, dtype);
                         }});
    }
  write_safetensors(dir / "m", std::move(tensors), {});
  EXPECT_EQ(loaded,
            (std::vector<std::string>{"a.i64", "b.i64", "a.f32", "b.f32", "a.bf16", "b.bf16", "a.bool", "b.bool"}));
  const auto file = SafetensorsFile::open(dir / "m");
  for (size_t i = 0; i < loaded.size(); ++i) EXPECT_EQ(file.tensors()[i].name, loaded[i]);
  EXPECT_TRUE(file.metadata().empty());
  write_safetensors(dir / "none", std::map<std::string, Tensor>{});
  EXPECT_TRUE(SafetensorsFile::open(dir / "none").tensors().empty());
}

TEST(Safetensors, RewritingAMappedFileKeepsItsTensors) {
  TemporaryDirectory dir;
  write_safetensors(dir / "m", {{"t", Tensor::from<float>({1, 2, 3}, {3})}});
  const auto file = SafetensorsFile::open(dir / "m");
  write_safetensors(dir / "m", {{"t", file.tensor("t")}});
  EXPECT_EQ(SafetensorsFile::open(dir / "m").tensor("t").data<float>()[1], 2.0f);
}

}  // namespace
}  // namespace mora
