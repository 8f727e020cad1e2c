#include "loaders/line_reader.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "engine/error.h"

namespace mora {
namespace {

constexpr std::string_view kBom = "\xEF\xBB\xBF";

}  // namespace

DataFile::DataFile(const std::string& path) : path_(path), file_(open_regular_file(path)) {
  require<IoError>(file_.bytes > 0, "{}: the file is empty; it needs rows to read", path_);
}

size_t DataFile::read(uint64_t offset, char* into, size_t count) const {
  size_t done = 0;
  while (done < count) {
    const ssize_t got = ::pread(file_.fd.get(), into + done, count - done, static_cast<off_t>(offset + done));
    if (got < 0 && errno == EINTR) continue;
    require<IoError>(got >= 0, "{}: cannot read: {}", path_, std::strerror(errno));
    if (got == 0) break;
    done += static_cast<size_t>(got);
  }
  return done;
}

LineReader::LineReader(const DataFile& file, uint64_t offset, uint64_t line, size_t block)
    : file_(file), offset_(offset), line_(line - 1), block_(block), buffer_offset_(offset) {
  if (offset > 0 || !refill()) return;
  const bool utf16 = buffer_.starts_with("\xFF\xFE") || buffer_.starts_with("\xFE\xFF");
  require<IoError>(!utf16, "{}: begins with a UTF-16 byte order mark; save it as UTF-8", file_.path());
  if (buffer_.starts_with(kBom)) begin_ = offset_ = kBom.size();
}

bool LineReader::refill() {
  if (begin_ > 0) {
    buffer_.erase(0, begin_);
    buffer_offset_ += begin_;
    begin_ = 0;
  }
  const size_t held = buffer_.size();
  buffer_.resize(held + block_);
  const size_t got = file_.read(buffer_offset_ + held, buffer_.data() + held, block_);
  buffer_.resize(held + got);
  block_ = std::clamp(block_ * 2, size_t{4} << 10, size_t{256} << 10);
  return got > 0;
}

bool LineReader::next() {
  begin_ += full_;
  offset_ += full_;
  full_ = text_ = 0;
  ++line_;
  size_t searched = 0;
  size_t newline = buffer_.find('\n', begin_);
  while (newline == std::string::npos) {
    searched = buffer_.size() - begin_;
    require<IoError>(searched <= kMaxLine, "{}:{}: a line of more than {} MiB; split it into shorter records",
                     file_.path(), line_, kMaxLine >> 20);
    if (!refill()) break;
    newline = buffer_.find('\n', begin_ + searched);
  }
  full_ = (newline == std::string::npos ? buffer_.size() : newline + 1) - begin_;
  if (full_ == 0) return false;
  text_ = full_;
  const std::string_view line(buffer_.data() + begin_, full_);
  if (line.ends_with("\r\n")) {
    text_ -= 2;
  } else if (line.ends_with('\n')) {
    text_ -= 1;
  }
  require<IoError>(text().find('\0') == std::string_view::npos,
                   "{}:{}: holds a NUL byte; data files are text in UTF-8 (is this one UTF-16, or binary?)",
                   file_.path(), line_);
  return true;
}

}  // namespace mora
