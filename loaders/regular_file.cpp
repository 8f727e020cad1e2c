#include "loaders/regular_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string_view>
#include <vector>

#include "engine/error.h"
#include "loaders/nearest.h"

namespace mora {
namespace {

std::string_view kind_of(mode_t mode) {
  if (S_ISDIR(mode)) return "a directory";
  if (S_ISFIFO(mode)) return "a named pipe";
  if (S_ISSOCK(mode)) return "a socket";
  return "a device";
}

// The file beside it of the same kind that a mistyped name is nearest to, or "".
std::string nearest_file(const std::filesystem::path& missing) {
  const std::filesystem::path folder = missing.parent_path();
  std::vector<std::string> stems;
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator(folder.empty() ? "." : folder, ignored))
    if (entry.path().extension() == missing.extension()) stems.push_back(entry.path().stem().string());
  const std::string nearest = nearest_name(missing.stem().string(), stems);
  return nearest.empty() ? "" : (folder / (nearest + missing.extension().string())).string();
}

}  // namespace

FileDescriptor& FileDescriptor::operator=(FileDescriptor&& other) noexcept {
  if (this != &other) {
    reset();
    fd_ = other.fd_;
    other.fd_ = -1;
  }
  return *this;
}

void FileDescriptor::reset() {
  if (fd_ >= 0) ::close(fd_);
  fd_ = -1;
}

RegularFile open_regular_file(const std::filesystem::path& file) {
  // O_NONBLOCK: opening a FIFO without a writer returns at once, and fstat then tells what it is.
  FileDescriptor fd(::open(file.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY));
  if (fd.get() < 0) {
    const int error = errno;
    struct stat link {};
    const bool dangling = error == ENOENT && ::lstat(file.c_str(), &link) == 0 && S_ISLNK(link.st_mode);
    require<IoError>(!dangling, "{}: a symbolic link to a file that does not exist", file.string());
    const std::string nearest = error == ENOENT ? nearest_file(file) : "";
    fail<IoError>("{}: cannot open: {}{}", file.string(), std::strerror(error),
                  nearest.empty() ? "" : fmt::format("; did you mean '{}'?", nearest));
  }
  struct stat status {};
  const bool known = ::fstat(fd.get(), &status) == 0;
  require<IoError>(known, "{}: cannot read its size: {}", file.string(), std::strerror(errno));
  require<IoError>(S_ISREG(status.st_mode), "{}: {}, expected a regular file", file.string(), kind_of(status.st_mode));
  return {std::move(fd), static_cast<size_t>(status.st_size)};
}

std::string read_regular_file(const std::filesystem::path& file, size_t max_bytes) {
  const RegularFile opened = open_regular_file(file);
  require<IoError>(opened.bytes <= max_bytes, "{}: {} bytes, at most {} are read", file.string(), opened.bytes,
                   max_bytes);
  std::string content(opened.bytes, '\0');
  size_t done = 0;
  while (done < content.size()) {
    const ssize_t got = ::read(opened.fd.get(), content.data() + done, content.size() - done);
    if (got < 0 && errno == EINTR) continue;
    require<IoError>(got >= 0, "{}: cannot read: {}", file.string(), std::strerror(errno));
    require<IoError>(got > 0, "{}: the file shrank from {} to {} bytes while it was read", file.string(),
                     content.size(), done);
    done += static_cast<size_t>(got);
  }
  return content;
}

}  // namespace mora
