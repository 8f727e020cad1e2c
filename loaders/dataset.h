// Rows of data files: .tsv, .csv, .jsonl and .txt, addressed by number and read when asked for.
//
// Opening a data set goes through each file once and keeps 16 bytes a row (where it begins), so a data set may be
// larger than memory. A row is read with pread: `read` is const and may be called from several threads.
//
//   .tsv    a header line, then a record a line; fields stand between tabs, a quote is an ordinary character
//   .csv    RFC 4180: a header line, fields stand between commas and may be quoted ("" inside quotes is one quote)
//   .jsonl  an object a line
//   .txt    a document a line, the one column is `text`
//
// All: UTF-8 (an invalid sequence becomes U+FFFD), with or without a byte order mark, \n or \r\n, with or without a
// last line end; blank lines are skipped. A column asked for by index ("0", "1" or "column 1", from 0) says that the
// file has no header line, unless a field of its first line is called just that.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace mora {

struct DataOptions {
  std::vector<std::string> files;     // paths, or globs (* ? [a-z]) that stand for their matches in sorted order
  std::vector<std::string> columns;   // the fields every row must have, in the order `Row::fields` holds them
  std::vector<std::string> optional;  // fields that follow them, and are `missing` where a row has none
};

struct Field {
  enum class Kind { string, integer, number, boolean, null, json, missing };
  std::string name;  // the column's, as asked for
  Kind kind = Kind::string;
  std::string
      text;  // string: valid UTF-8; integer, number, boolean: as JSON writes them; json: the array's or object's text
};

struct Row {
  std::string where;  // "reviews.tsv:17", opens every error about the row
  std::vector<Field> fields;
};

class Dataset {
 public:
  // Throws ConfigError: no file, an unknown extension; IoError: what is wrong with a file, with its line and the fix. A
  // .jsonl line is parsed when it is read, everything else is checked here.
  explicit Dataset(DataOptions options);
  Dataset(Dataset&&) noexcept;
  Dataset& operator=(Dataset&&) noexcept;
  ~Dataset();

  int64_t size() const { return rows_; }
  Row read(int64_t row) const;
  std::string where(int64_t row) const;  // "reviews.tsv:17", without reading the row

 private:
  struct Part;  // one file and its index
  const Part& part_of(int64_t row) const;

  DataOptions options_;
  std::vector<std::unique_ptr<Part>> parts_;
  int64_t rows_ = 0;
};

// The files that `patterns` stand for; ConfigError where a pattern matches nothing.
std::vector<std::string> expand_files(const std::vector<std::string>& patterns);

// What the first file calls its columns: the fields of its first line, the fields of its first object, or `text`.
std::vector<std::string> column_names(const std::vector<std::string>& files);

// The text of a field: a string that is not empty. IoError names the row, the column and what stands there instead.
const std::string& text_of(const Row& row, size_t field);

// As text_of, but an empty string is allowed (rows to predict).
const std::string& text_or_empty(const Row& row, size_t field);

// A regression target: a finite number, written as a JSON number or as text. IoError otherwise.
float target_of(const Row& row, size_t field);

struct RowSplit {
  std::vector<int64_t> train, valid;  // row numbers, ascending; disjoint, together 0 … rows − 1
};

// Sets round(rows · valid_fraction), at least one, aside. Depends on the three arguments alone.
// ConfigError unless 0 < valid_fraction < 1 and both parts have a row.
RowSplit split_rows(int64_t rows, double valid_fraction, uint64_t seed);

}  // namespace mora
