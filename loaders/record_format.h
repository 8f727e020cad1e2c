// What the formats of data files have in common: where a record ends, and which of its fields are wanted. Used by
// dataset.cpp; the formats are in delimited.cpp, jsonl.cpp and text.cpp.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "loaders/dataset.h"
#include "loaders/line_reader.h"

namespace mora {

// One record between its lines and its fields. Reused from record to record, so that reading does not allocate.
struct Record {
  uint64_t offset = 0;              // of its first byte
  uint64_t line = 0;                // of its first line
  bool ended = true;                // by a line end, so that it cannot have been cut short
  std::string text;                 // .jsonl, .txt: its line
  std::vector<std::string> fields;  // .tsv, .csv: all of them
};

// How one file is read: knows its header and the columns asked for. Immutable.
class RecordFormat {
 public:
  virtual ~RecordFormat() = default;
  virtual bool has_header() const { return false; }
  // Moves to the next record that is not blank; false at the end.
  virtual bool next(LineReader& lines, Record& record) const = 0;
  // The wanted fields, `columns` then `optional`. May use up the record's strings.
  virtual std::vector<Field> decode(Record& record) const = 0;
  // All fields' names (of a first line or object).
  virtual std::vector<std::string> names(Record& record) const = 0;
};

// One by the file's extension. The options' columns are looked up in the file's first line where it has a header.
std::unique_ptr<RecordFormat> open_format(const DataFile& file, const DataOptions& options);
std::unique_ptr<RecordFormat> open_delimited(const DataFile& file, const DataOptions& options, char delimiter);
std::unique_ptr<RecordFormat> open_jsonl(const DataFile& file, const DataOptions& options);
std::unique_ptr<RecordFormat> open_text(const DataFile& file, const DataOptions& options);

// Moves to the next line that is not blank and makes it the record's text.
bool next_line(LineReader& lines, Record& record);

// A piece of a file as an error repeats it: one line, 60 bytes at most.
std::string excerpt(std::string_view text);

// "no column 'txt'; there is text, label; did you mean 'text'?", or what to do where no name is near.
std::string missing_column(std::string_view name, const std::vector<std::string>& names, std::string_view otherwise);

}  // namespace mora
