// Lines of a data file, read with pread: any number of readers share one descriptor, and memory is one line and one
// block.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "loaders/regular_file.h"

namespace mora {

// An open data file: its name for errors, its bytes by position. Immutable; safe to share between threads.
class DataFile {
 public:
  explicit DataFile(const std::string& path);  // IoError unless a readable regular file that is not empty

  const std::string& path() const { return path_; }
  uint64_t size() const { return file_.bytes; }
  // Reads at most `count` bytes at `offset`; fewer only at the file's end.
  size_t read(uint64_t offset, char* into, size_t count) const;

 private:
  std::string path_;
  RegularFile file_;
};

// Goes through a file line by line from any offset. A line ends at \n (a \r before it belongs to the end) or at the end
// of the file; a lone \r is an ordinary character.
class LineReader {
 public:
  static constexpr size_t kMaxLine = size_t{64} << 20;  // bytes; a longer one is an error, not memory

  // `offset` is where the line numbered `line` (from 1) begins; `block` is the size of the first read.
  LineReader(const DataFile& file, uint64_t offset, uint64_t line, size_t block = size_t{64} << 10);

  // Moves to the next line; false at the end. IoError: longer than kMaxLine, or it holds a NUL byte.
  bool next();
  std::string_view text() const { return {buffer_.data() + begin_, text_}; }                 // without its end
  std::string_view end() const { return {buffer_.data() + begin_ + text_, full_ - text_}; }  // "\n", "\r\n" or ""
  uint64_t offset() const { return offset_; }
  uint64_t line() const { return line_; }
  const DataFile& file() const { return file_; }

 private:
  bool refill();  // reads one more block behind what is buffered; false at the end of the file

  const DataFile& file_;
  uint64_t offset_;  // of the current line
  uint64_t line_;    // number of the current line
  size_t block_;
  std::string buffer_;  // the file's bytes from buffer_offset_ on
  uint64_t buffer_offset_;
  size_t begin_ = 0, text_ = 0, full_ = 0;  // the current line in buffer_: start, length without and with its end
};

}  // namespace mora
