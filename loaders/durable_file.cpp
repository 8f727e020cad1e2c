#include "loaders/durable_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstring>

#include "engine/error.h"

namespace mora {
namespace {

constexpr size_t kBuffer = size_t{256} << 10;

std::filesystem::path directory_of(const std::filesystem::path& file) {
  return file.has_parent_path() ? file.parent_path() : std::filesystem::path(".");
}

// The name does not hold the file's own, which may be as long as the system allows.
std::filesystem::path temporary_beside(const std::filesystem::path& file) {
  static std::atomic<unsigned> counter{0};
  return directory_of(file) / fmt::format(".mora-{}-{}.partial", ::getpid(), counter++);
}

}  // namespace

DurableFile::DurableFile(std::filesystem::path file) : file_(std::move(file)), temporary_(temporary_beside(file_)) {
  struct stat status {};
  const bool exists = ::lstat(file_.c_str(), &status) == 0;
  require<IoError>(!exists || S_ISREG(status.st_mode) || S_ISLNK(status.st_mode),
                   "{}: is there already and is no regular file; choose another name", file_.string());
  ::unlink(temporary_.c_str());  // the leftover of a killed process that had our id
  fd_ = FileDescriptor(::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666));
  if (fd_.get() < 0) fail_with("create", errno);
  buffer_.reserve(kBuffer);
}

DurableFile::~DurableFile() {
  if (fd_.get() >= 0) ::unlink(temporary_.c_str());
}

void DurableFile::fail_with(std::string_view doing, int error) const {
  fail<IoError>("{}: cannot {} it: {}", file_.string(), doing, std::strerror(error));
}

void DurableFile::write(const void* data, size_t bytes) {
  if (bytes == 0) return;
  invariant(fd_.get() >= 0, "{}: written after it was committed", file_.string());
  checksum_.update(data, bytes);
  bytes_ += bytes;
  const char* from = static_cast<const char*>(data);
  if (buffer_.size() + bytes > kBuffer) {
    write_out(buffer_.data(), buffer_.size());
    buffer_.clear();
  }
  if (bytes >= kBuffer) return write_out(from, bytes);
  buffer_.append(from, bytes);
}

void DurableFile::write_out(const char* data, size_t bytes) {
  while (bytes > 0) {
    const ssize_t written = ::write(fd_.get(), data, bytes);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) fail_with("write", errno);
    data += written;
    bytes -= static_cast<size_t>(written);
  }
}

void DurableFile::commit() {
  invariant(fd_.get() >= 0, "{}: committed twice", file_.string());
  write_out(buffer_.data(), buffer_.size());
  buffer_.clear();
  if (::fsync(fd_.get()) != 0) fail_with("write", errno);
  rename_durable(temporary_, file_);
  fd_.reset();
}

void write_durable(const std::filesystem::path& file, std::string_view content) {
  DurableFile out(file);
  out.write(content);
  out.commit();
}

void rename_durable(const std::filesystem::path& from, const std::filesystem::path& to) {
  const bool renamed = std::rename(from.c_str(), to.c_str()) == 0;
  require<IoError>(renamed, "{}: cannot put it in place: {}", to.string(), std::strerror(errno));
  sync_directory(directory_of(to));
}

void sync_directory(const std::filesystem::path& directory) {
  FileDescriptor fd(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  // Some file systems cannot sync a directory and say EINVAL; their renames are as durable as they get.
  const bool synced = fd.get() >= 0 && (::fsync(fd.get()) == 0 || errno == EINVAL || errno == ENOTSUP);
  require<IoError>(synced, "{}: cannot sync the directory: {}", directory.string(), std::strerror(errno));
}

}  // namespace mora
