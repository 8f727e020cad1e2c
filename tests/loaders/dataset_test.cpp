#include "loaders/dataset.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <set>

#include "engine/error.h"
#include "loaders/labels.h"
#include "loaders/line_reader.h"
#include "loaders/temporary_directory.h"
#include "loaders/utf8.h"

namespace mora {
namespace {

using Kind = Field::Kind;

class DatasetTest : public testing::Test {
 protected:
  std::string write(const std::string& name, std::string_view content) { return folder_.write(name, content).string(); }

  // All rows, each as "where: field|field", with the folder taken off.
  std::vector<std::string> rows(const DataOptions& options) {
    const Dataset data(options);
    std::vector<std::string> out;
    for (int64_t i = 0; i < data.size(); ++i) {
      const Row row = data.read(i);
      EXPECT_EQ(row.where, data.where(i));
      std::string line = without_folder(row.where) + ": ";
      for (size_t f = 0; f < row.fields.size(); ++f) line += (f ? "|" : "") + row.fields[f].text;
      out.push_back(line);
    }
    return out;
  }

  std::vector<std::string> rows(const std::string& name, std::string_view content, std::vector<std::string> columns) {
    return rows(DataOptions{{write(name, content)}, std::move(columns), {}});
  }

  // The error of opening a file and reading all of its rows.
  std::string error(const std::string& name, std::string_view content, std::vector<std::string> columns) {
    try {
      rows(name, content, std::move(columns));
    } catch (const Error& e) {
      return without_folder(e.what());
    }
    return "no error";
  }

  std::string without_folder(std::string text) const {
    const std::string prefix = folder_.path().string() + "/";
    for (size_t at = 0; (at = text.find(prefix, at)) != std::string::npos;) text.erase(at, prefix.size());
    return text;
  }

  test::TemporaryDirectory folder_;
};

using Lines = std::vector<std::string>;

TEST_F(DatasetTest, ReadsTsvByName) {
  EXPECT_EQ(rows("a.tsv", "id\ttext\tlabel\n7\tsay \"hi\"\tpos\n8\t\tneg\n", {"label", "text"}),
            (Lines{"a.tsv:2: pos|say \"hi\"", "a.tsv:3: neg|"}));
}

TEST_F(DatasetTest, ReadsTsvWithoutHeaderByIndex) {
  EXPECT_EQ(rows("a.tsv", "1\t-0.6\tdull\n2\t1.5\tbright", {"2", "column 1"}),
            (Lines{"a.tsv:1: dull|-0.6", "a.tsv:2: bright|1.5"}));
  EXPECT_EQ(rows("b.tsv", "0\t1\na\tb\n", {"0"}), (Lines{"b.tsv:2: a"})) << "a header may call its columns by numbers";
  EXPECT_EQ(rows("c.tsv", "text\ty\na\tb\n", {"text", "1"}), (Lines{"c.tsv:2: a|b"})) << "one name: a header";
}

TEST_F(DatasetTest, ReadsCsvWithQuotes) {
  EXPECT_EQ(
      rows("a.csv", "text,label\n\"a, \"\"b\"\"\",x\n\"two\r\nlines\",y\r\nplain \"quote\",\"\"\n", {"text", "label"}),
      (Lines{"a.csv:2: a, \"b\"|x", "a.csv:3: two\r\nlines|y", "a.csv:5: plain \"quote\"|"}));
}

TEST_F(DatasetTest, ReadsJsonlKindsAndKeepsTheOrderOfNestedKeys) {
  const std::string path =
      write("a.jsonl",
            "{\"skip\": \"}]\\\"\", \"t\\u0065xt\": \"hi\\n\\u0000\", \"label\": 3, \"m\": [{\"z\": 1, "
            "\"a\": \"]\"}] , \"f\": 0.5, \"b\": true, \"n\": null}\n");
  const Dataset data({{path}, {"text", "label", "m", "f", "b", "n"}, {"tools"}});
  const Row row = data.read(0);
  EXPECT_EQ(row.fields[0].text, std::string("hi\n\0", 4));
  EXPECT_EQ(row.fields[2].text, "[{\"z\": 1, \"a\": \"]\"}]");
  const std::vector<Kind> kinds = {Kind::string,  Kind::integer, Kind::json,   Kind::number,
                                   Kind::boolean, Kind::null,    Kind::missing};
  for (size_t i = 0; i < kinds.size(); ++i) EXPECT_EQ(row.fields[i].kind, kinds[i]) << i;
}

TEST_F(DatasetTest, ReadsTextADocumentALine) {
  EXPECT_EQ(rows("a.txt", "one\n\n   \ntwo\r\nthree", {"text"}),
            (Lines{"a.txt:1: one", "a.txt:4: two", "a.txt:5: three"}));
}

TEST_F(DatasetTest, AcceptsByteOrderMarkLineEndsBlankLinesAndNoLastLineEnd) {
  const Lines expected = {"a.tsv:2: x|1", "a.tsv:4: y|2"};
  EXPECT_EQ(rows("a.tsv", "\xEF\xBB\xBFtext\tlabel\r\nx\t1\r\n\r\ny\t2", {"text", "label"}), expected);
  EXPECT_EQ(rows("a.jsonl", "\xEF\xBB\xBF{\"text\":\"x\"}\r\n", {"text"}), (Lines{"a.jsonl:1: x"}));
}

TEST_F(DatasetTest, ReplacesInvalidUtf8AsPythonDoes) {
  EXPECT_EQ(rows("a.tsv", "text\tlabel\ncaf\xE9 ok\tx\n", {"text"}), (Lines{"a.tsv:2: caf\uFFFD ok"}));
  EXPECT_EQ(rows("a.jsonl", "{\"text\": \"\xE2\x82 \xED\xA0\x80\"}\n", {"text"}),
            (Lines{"a.jsonl:1: \uFFFD \uFFFD\uFFFD\uFFFD"}));
  EXPECT_EQ(replace_invalid_utf8("\xF0\x9F\x98\x80 \xF0\x9F\x98 \xC0\xAF \xF4\x90\x80\x80 \xE2"),
            "\U0001F600 \uFFFD \uFFFD\uFFFD \uFFFD\uFFFD\uFFFD\uFFFD \uFFFD");
}

TEST_F(DatasetTest, JoinsFilesAndGlobsInSortedOrder) {
  write("b.part.tsv", "label\ttext\n1\tB\n");
  write("a.part.tsv", "text\tlabel\nA\t0\nAA\t0\n");
  const std::string c = write("[c].jsonl", "{\"text\": \"C\", \"label\": 2}\n");
  const Lines expected = {"a.part.tsv:2: A|0", "a.part.tsv:3: AA|0", "b.part.tsv:2: B|1", "[c].jsonl:1: C|2"};
  EXPECT_EQ(rows(DataOptions{{(folder_ / "*.part.tsv").string(), c}, {"text", "label"}, {}}), expected);
  EXPECT_EQ(column_names({c}), (Lines{"label", "text"}));
}

TEST_F(DatasetTest, ReadsLinesLongerThanABlock) {
  const std::string text(700'000, 'x');
  const std::string path = write("a.tsv", "text\tlabel\n" + text + "\t1\nshort\t2\n" + text + "\t3\n");
  const Dataset data({{path}, {"text", "label"}, {}});
  ASSERT_EQ(data.size(), 3);
  EXPECT_EQ(data.read(2).fields[0].text, text);
  EXPECT_EQ(data.read(1).fields[0].text, "short");
  EXPECT_EQ(data.read(0).fields[1].text, "1");
}

TEST_F(DatasetTest, RefusesALineThatNeverEnds) {
  const std::string path = write("a.txt", "first\n");
  std::filesystem::resize_file(path, (uint64_t{1} << 30) + 6);  // sparse: 1 GiB of NUL
  const std::string message = test::error_of<IoError>([&] { Dataset({{path}, {"text"}, {}}); });
  EXPECT_EQ(without_folder(message), "a.txt:2: a line of more than 64 MiB; split it into shorter records");
}

TEST_F(DatasetTest, MalformedFilesEndInOneClearLine) {
  const struct {
    const char* name;
    std::string_view content;
    std::vector<std::string> columns;
    const char* message;
  } cases[] = {
      {"a.tsv", "", {"text"}, "a.tsv: the file is empty; it needs rows to read"},
      {"a.tsv", "\n\n", {"text"}, "a.tsv: no rows under the header line"},
      {"a.tsv", "text\tlabel\n", {"text"}, "a.tsv: no rows under the header line"},
      {"a.txt", "\xEF\xBB\xBF", {"text"}, "a.txt: no rows"},
      {"a.txt", "x\n", {"txt"}, "a.txt: no column 'txt'; a .txt file has one, 'text': a document a line"},
      {"a.tsv",
       "text\tlabel\nx\ty\n",
       {"body"},
       "a.tsv:1: no column 'body'; there is text, label; a file without a header line is read by index (0, 1, …)"},
      {"a.tsv",
       "text\tlabel\nx\ty\n",
       {"txet"},
       "a.tsv:1: no column 'txet'; there is text, label; did you mean 'text'?"},
      {"a.tsv", "x\ty\n", {"2"}, "a.tsv:1: no column 2; it has 2 (0 to 1)"},
      {"a.tsv", "text\ttext\nx\ty\n", {"text"}, "a.tsv:1: two columns are called 'text'"},
      {"a.tsv",
       "text\tlabel\nx\ty\nx\ty\tz\n",
       {"text"},
       "a.tsv:3: 3 fields where line 1 has 2; a tab inside a text has to go, or write the data as .jsonl"},
      {"a.tsv",
       "text\tlabel\nx\ty\nx",
       {"text"},
       "a.tsv:3: 1 field where line 1 has 2; the last record seems to be cut short"},
      {"a.csv",
       "text,label\na,b,c\n",
       {"text"},
       "a.csv:2: 3 fields where line 1 has 2; quote a field that has a comma in it"},
      {"a.csv", "text,label\n\nx,\"y\nz\n\n", {"text"}, "a.csv:3: the quote that opens in this line never closes"},
      {"a.csv",
       "text,label\nx,\"y\"z\n",
       {"text"},
       "a.csv:2: field 2: 'z' behind the closing quote; inside quotes a quote is written twice"},
      {"a.tsv",
       {"text\tlabel\nx\0\ty\n", 16},
       {"text"},
       "a.tsv:2: holds a NUL byte; data files are text in UTF-8 (is this one UTF-16, or binary?)"},
      {"a.tsv", {"\xFF\xFEt\0", 4}, {"text"}, "a.tsv: begins with a UTF-16 byte order mark; save it as UTF-8"},
      {"a.jsonl", "{\"text\": \"x\"}\n[1]\n", {"text"}, "a.jsonl:2: each line is an object, this one is an array"},
      {"a.jsonl",
       "{\"text\": \"x\"}\n{\"body\": 1, \"textt\": 2}\n",
       {"text"},
       "a.jsonl:2: no column 'text'; there is body, textt; did you mean 'textt'?"},
      {"a.xlsx", "x", {"text"}, "a.xlsx: '.xlsx' is no known data format; use .tsv, .csv, .jsonl or .txt"},
  };
  for (const auto& c : cases) EXPECT_EQ(error(c.name, c.content, c.columns), c.message);

  const std::string cut = error("a.jsonl", "{\"text\": \"x\"}\n{\"text\": \"y", {"text"});
  EXPECT_EQ(cut.find("a.jsonl:2: "), 0u) << cut;
  EXPECT_NE(cut.find("; the last record seems to be cut short"), std::string::npos) << cut;
  EXPECT_EQ(error("a.jsonl", "{\"text\": 1, \"text\": 2}\n", {"text"}), "a.jsonl:1: duplicate key \"text\"");
  EXPECT_THROW(Dataset({{(folder_ / "none*.tsv").string()}, {"text"}, {}}), ConfigError);
  EXPECT_THROW(Dataset({{}, {"text"}, {}}), ConfigError);
  EXPECT_THROW(Dataset({{folder_.path().string()}, {"text"}, {}}), IoError);
}

TEST_F(DatasetTest, EveryBeginningOfAFileReadsOrEndsInAnError) {
  const std::string_view contents[] = {
      "text\tlabel\na b\tpos\nc\tneg\n", "text,label\n\"a\nb\",\"p\"\"\"\nc,d\n",
      "{\"text\": \"a\", \"label\": [1, {}]}\n{\"text\": \"b\", \"label\": \"\\ud83d\\ude00\"}\n"};
  const char* names[] = {"a.tsv", "a.csv", "a.jsonl"};
  for (size_t i = 0; i < 3; ++i)
    for (size_t length = 0; length < contents[i].size(); ++length) {
      const std::string message = error(names[i], contents[i].substr(0, length), {"text", "label"});
      EXPECT_TRUE(message == "no error" || message.starts_with(names[i])) << message;
    }
}

TEST_F(DatasetTest, TextAndTargetsSayWhatStandsInstead) {
  const std::string path =
      write("a.jsonl",
            "{\"t\": \"\", \"y\": \"1e400\"}\n{\"t\": 3, \"y\": \" +2.5 \"}\n{\"t\": [1], \"y\": \"abc\"}\n"
            "{\"t\": \"ok\", \"y\": null}\n{\"t\": \"ok\", \"y\": -7}\n{\"t\": null, \"y\": \"nan\"}\n");
  const Dataset data({{path}, {"t", "y"}, {}});
  const auto message = [&](auto read, int64_t row) {
    return without_folder(test::error_of<IoError>([&] { read(data.read(row)); }));
  };
  const auto text = [](const Row& row) { text_of(row, 0); };
  const auto target = [](const Row& row) { target_of(row, 1); };
  EXPECT_EQ(message(text, 0), "a.jsonl:1: column 't' is empty; give it text or remove the row");
  EXPECT_EQ(text_or_empty(data.read(0), 0), "");
  EXPECT_EQ(message(text, 1), "a.jsonl:2: column 't' is a number, expected text");
  EXPECT_EQ(message(text, 2), "a.jsonl:3: column 't' is an array or object, expected text");
  EXPECT_EQ(message(text, 5), "a.jsonl:6: column 't' is null, expected text");
  EXPECT_EQ(text_of(data.read(3), 0), "ok");
  EXPECT_EQ(message(target, 0), "a.jsonl:1: column 'y': '1e400' is no finite number, which regression learns");
  EXPECT_EQ(target_of(data.read(1), 1), 2.5f);
  EXPECT_EQ(message(target, 2), "a.jsonl:3: column 'y': 'abc' is no finite number, which regression learns");
  EXPECT_EQ(message(target, 3), "a.jsonl:4: column 'y' is null, expected a number");
  EXPECT_EQ(target_of(data.read(4), 1), -7.0f);
  EXPECT_EQ(message(target, 5), "a.jsonl:6: column 'y': 'nan' is no finite number, which regression learns");
}

class LabelsTest : public DatasetTest {
 protected:
  Dataset open(const std::string& name, std::string_view content) {
    return Dataset({{write(name, content)}, {"y"}, {}});
  }

  std::string collect_error(const std::string& name, std::string_view content) {
    return without_folder(test::error_of<IoError>([&] { LabelNames::collect(open(name, content), 0); }));
  }

  std::string id_error(const LabelNames& names, const Row& row) {
    return without_folder(test::error_of<IoError>([&] { names.id_of(row, 0); }));
  }
};

TEST_F(LabelsTest, SortsNumbersByValueAndWordsByBytes) {
  EXPECT_EQ(LabelNames::collect(open("a.tsv", "x\ty\n.\t10\n.\t9\n.\t-1\n.\t9\n"), 0).names(),
            (Lines{"-1", "9", "10"}));
  EXPECT_EQ(LabelNames::collect(open("b.tsv", "x\ty\n.\tpos\n.\t10\n.\tneg\n"), 0).names(),
            (Lines{"10", "neg", "pos"}));
  EXPECT_EQ(LabelNames::collect(open("a.jsonl", "{\"y\": true}\n{\"y\": false}\n"), 0).names(),
            (Lines{"false", "true"}));
}

TEST_F(LabelsTest, KnowsAModelsNames) {
  const Dataset data = open("a.tsv", "x\ty\n.\tpositive\n.\t0\n.\t2\n.\tNegative\n");
  const LabelNames names({"positive", "negative"});
  EXPECT_EQ(names.id_of(data.read(0), 0), 0);
  EXPECT_EQ(names.id_of(data.read(1), 0), 0) << "a class id";
  EXPECT_EQ(id_error(names, data.read(2)),
            "a.tsv:4: column 'y': label 2 is out of range, the classes are 0 to 1 ('positive', 'negative')");
  EXPECT_EQ(
      id_error(names, data.read(3)),
      "a.tsv:5: column 'y': unknown label 'Negative'; known are 'positive', 'negative'; did you mean 'negative'?");
  const LabelNames numbers({"1", "0"});
  EXPECT_EQ(numbers.id_of(data.read(1), 0), 1) << "a name, not an id";
  EXPECT_EQ(id_error(numbers, data.read(2)), "a.tsv:4: column 'y': unknown label '2'; known are '1', '0'");
  EXPECT_THROW(LabelNames({"a", "a"}), ConfigError);
  EXPECT_THROW(LabelNames({}), ConfigError);
}

TEST_F(LabelsTest, RefusesMissingFractionalAndMixedLabels) {
  EXPECT_EQ(collect_error("a.tsv", "x\ty\n.\ta\n.\t\n"), "a.tsv:3: column 'y': the label is missing");
  EXPECT_EQ(collect_error("a.tsv", "x\ty\n.\t0.5\n"),
            "a.tsv:2: column 'y': 0.5 is no class label but a fraction; did you mean task: regression?");
  EXPECT_EQ(collect_error("a.jsonl", "{\"y\": 1}\n{\"y\": 1.0}\n"),
            "a.jsonl:2: column 'y': 1.0 is no class label but a fraction; did you mean task: regression?");
  EXPECT_EQ(collect_error("a.jsonl", "{\"y\": 1}\n{\"y\": null}\n"), "a.jsonl:2: column 'y': the label is missing");
  EXPECT_EQ(collect_error("a.jsonl", "{\"y\": 1}\n{\"y\": \"1\"}\n"),
            "a.jsonl:2: column 'y': 1 is of another JSON type than the labels of the rows before");
  EXPECT_EQ(collect_error("a.jsonl", "{\"y\": [1]}\n"),
            "a.jsonl:1: column 'y': a label is a string or a whole number, not [1]");
}

TEST(SplitRows, DependsOnTheSeedAloneAndPartitionsTheRows) {
  const RowSplit split = split_rows(103, 0.1, 7), again = split_rows(103, 0.1, 7), other = split_rows(103, 0.1, 8);
  EXPECT_EQ(split.valid.size(), 10u);
  EXPECT_EQ(split.valid, again.valid);
  EXPECT_NE(split.valid, other.valid);
  std::set<int64_t> all(split.train.begin(), split.train.end());
  all.insert(split.valid.begin(), split.valid.end());
  EXPECT_EQ(all.size(), 103u);
  EXPECT_EQ(*all.rbegin(), 102);
  EXPECT_EQ(split_rows(3, 0.01, 0).valid.size(), 1u);
  EXPECT_THROW(split_rows(1, 0.5, 0), ConfigError);
  EXPECT_THROW(split_rows(10, 1.0, 0), ConfigError);
  EXPECT_THROW(split_rows(10, 0.0, 0), ConfigError);
}

}  // namespace
}  // namespace mora
