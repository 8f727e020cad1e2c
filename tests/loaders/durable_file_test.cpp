#include "loaders/durable_file.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <csignal>

#include "engine/error.h"
#include "loaders/mapped_file.h"
#include "loaders/temporary_directory.h"

namespace mora {
namespace {

using test::error_of;
using test::read_bytes;
using test::TemporaryDirectory;

size_t files_in(const TemporaryDirectory& dir) {
  return static_cast<size_t>(std::distance(std::filesystem::directory_iterator(dir.path()), {}));
}

// Lets files grow to `bytes`, as a full disk would.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) : old_handler_(std::signal(SIGXFSZ, SIG_IGN)) {
    ::getrlimit(RLIMIT_FSIZE, &old_);
    const rlimit limit{bytes, old_.rlim_max};
    ::setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~FileSizeLimit() {
    ::setrlimit(RLIMIT_FSIZE, &old_);
    std::signal(SIGXFSZ, old_handler_);
  }

 private:
  rlimit old_{};
  void (*old_handler_)(int);
};

TEST(DurableFile, WritesPiecesOfAnySize) {
  TemporaryDirectory dir;
  std::string expected;
  DurableFile out(dir / "a");
  for (const size_t size : {0, 1, 3, 300000, 7, 262144, 262143, 100000, 100000, 100000}) {
    const std::string piece(size, static_cast<char>('a' + size % 26));
    out.write(piece);
    expected += piece;
  }
  EXPECT_FALSE(std::filesystem::exists(dir / "a"));
  EXPECT_EQ(out.bytes(), expected.size());
  EXPECT_EQ(out.checksum(), checksum(expected));
  out.commit();
  EXPECT_EQ(read_bytes(dir / "a"), expected);
  EXPECT_EQ(checksum_file(dir / "a"), checksum(expected));
  EXPECT_EQ(files_in(dir), 1u);
}

TEST(DurableFile, ReplacesAFileThatIsMapped) {
  TemporaryDirectory dir;
  const auto old = MappedFile::open(dir.write("a", "old"));
  write_durable(dir / "a", "the new content");
  EXPECT_EQ(old->text(), "old");
  EXPECT_EQ(read_bytes(dir / "a"), "the new content");
}

TEST(DurableFile, ReplacesALinkAndLeavesItsTarget) {
  TemporaryDirectory dir;
  dir.write("target", "old");
  std::filesystem::create_symlink("target", dir / "a");
  write_durable(dir / "a", "new");
  EXPECT_EQ(read_bytes(dir / "target"), "old");
  EXPECT_EQ(read_bytes(dir / "a"), "new");
}

TEST(DurableFile, WithoutCommitNothingChanges) {
  TemporaryDirectory dir;
  dir.write("a", "old");
  { DurableFile(dir / "a").write("new"); }
  EXPECT_EQ(read_bytes(dir / "a"), "old");
  EXPECT_EQ(files_in(dir), 1u);
}

TEST(DurableFile, AFullDiskIsOneErrorAndKeepsTheOldFile) {
  TemporaryDirectory dir;
  dir.write("a", "old");
  const FileSizeLimit limit(1 << 20);
  const std::string message = error_of<IoError>([&] { write_durable(dir / "a", std::string(2 << 20, 'x')); });
  EXPECT_EQ(message, (dir / "a").string() + ": cannot write it: File too large");
  EXPECT_EQ(read_bytes(dir / "a"), "old");
  EXPECT_EQ(files_in(dir), 1u);
}

TEST(DurableFile, RefusesWhatItCannotReplace) {
  TemporaryDirectory dir;
  const auto message = [](const std::filesystem::path& file) {
    return error_of<IoError>([&] { write_durable(file, "x"); });
  };
  EXPECT_EQ(message(dir / "no" / "a"), (dir / "no" / "a").string() + ": cannot create it: No such file or directory");
  EXPECT_EQ(message("/dev/null"), "/dev/null: is there already and is no regular file; choose another name");
  EXPECT_EQ(message(dir.path()),
            dir.path().string() + ": is there already and is no regular file; choose another name");
  EXPECT_TRUE(message("/proc/a").starts_with("/proc/a: cannot create it: "));
}

TEST(DurableFile, NamesOfFullLengthAndPermissionsOfTheUser) {
  TemporaryDirectory dir;
  const std::string name(255, 'n');
  write_durable(dir / name, "x");
  struct stat status {};
  ASSERT_EQ(::stat((dir / name).c_str(), &status), 0);
  const mode_t mask = ::umask(0);
  ::umask(mask);
  EXPECT_EQ(status.st_mode & 0777, 0666 & ~mask);
}

TEST(DurableFile, RenamesDirectories) {
  TemporaryDirectory dir;
  std::filesystem::create_directory(dir / "temporary");
  rename_durable(dir / "temporary", dir / "final");
  EXPECT_TRUE(std::filesystem::is_directory(dir / "final"));
  EXPECT_EQ(error_of<IoError>([&] { rename_durable(dir / "temporary", dir / "b"); }),
            (dir / "b").string() + ": cannot put it in place: No such file or directory");
}

TEST(Checksum, IsXxh3) {
  EXPECT_EQ(checksum_text(checksum("")), "2d06800538d394c2");  // the published value of the empty input
  EXPECT_NE(checksum("a"), checksum("b"));
}

}  // namespace
}  // namespace mora
