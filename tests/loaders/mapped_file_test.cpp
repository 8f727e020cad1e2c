#include "loaders/mapped_file.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <thread>

#include "engine/error.h"
#include "engine/tensor.h"
#include "loaders/temporary_directory.h"

namespace mora {
namespace {

using test::error_of;
using test::TemporaryDirectory;

TEST(MappedFile, ShowsTheBytesAndOutlivesTheName) {
  TemporaryDirectory dir;
  const auto map = MappedFile::open(dir.write("a", "hello"));
  EXPECT_EQ(map->text(), "hello");
  std::filesystem::remove(dir / "a");
  EXPECT_EQ(map->text(), "hello");
  EXPECT_NO_THROW(map->require_whole());
  EXPECT_EQ(MappedFile::open(dir.write("empty", ""))->size(), 0u);
}

TEST(MappedFile, RefusesWhatIsNoRegularFile) {
  TemporaryDirectory dir;
  const auto message = [&](const std::string& name) {
    return error_of<IoError>([&] { MappedFile::open(dir / name); }).substr(dir.path().string().size() + 1);
  };
  std::filesystem::create_symlink("nowhere", dir / "dangling");
  EXPECT_EQ(message("dangling"), "dangling: a symbolic link to a file that does not exist");
  ASSERT_EQ(::mkfifo((dir / "fifo").c_str(), 0600), 0);
  EXPECT_EQ(message("fifo"), "fifo: a named pipe, expected a regular file");
  std::filesystem::create_symlink("fifo", dir / "link");
  EXPECT_EQ(message("link"), "link: a named pipe, expected a regular file");
  std::filesystem::create_directory(dir / "sub");
  EXPECT_EQ(message("sub"), "sub: a directory, expected a regular file");
  EXPECT_EQ(error_of<IoError>([] { MappedFile::open("/dev/zero"); }), "/dev/zero: a device, expected a regular file");
}

TEST(MappedFile, ShrinkingIsSeenBeforeUse) {
  TemporaryDirectory dir;
  const auto map = MappedFile::open(dir.write("a", "hello"));
  std::filesystem::resize_file(dir / "a", 2);
  EXPECT_EQ(error_of<IoError>([&] { map->require_whole(); }),
            (dir / "a").string() + ": the file shrank from 5 to 2 bytes while it was open");
}

TEST(MappedFileDeathTest, ShrinkingUnderAReadIsOneLine) {
  TemporaryDirectory dir;
  const auto other = MappedFile::open(dir.write("other", "x"));  // the handler must pick the right one
  const auto map = MappedFile::open(dir.write("a", std::string(20000, 'a')));
  std::filesystem::resize_file(dir / "a", 0);
  const auto read_it = [&] {
    std::thread([&] { std::exit(2 + static_cast<volatile const char*>(map->text().data())[9000]); }).join();
  };
  EXPECT_EXIT(read_it(), testing::ExitedWithCode(1), "error: .*/a: the file shrank while it was open\n$");
}

TEST(MappedFileDeathTest, OtherBusErrorsAreNotOurs) {
  TemporaryDirectory dir;
  const auto map = MappedFile::open(dir.write("a", "x"));
  EXPECT_EXIT(::raise(SIGBUS), testing::KilledBySignal(SIGBUS), "");
}

TEST(MappedFile, ReleasedPagesReadAgain) {
  TemporaryDirectory dir;
  const auto map = MappedFile::open(dir.write("a", std::string(100000, 'a')));
  const Tensor mapped = Tensor::foreign(map->data() + 100, {90000}, DType::u8, map);
  EXPECT_EQ(map->text()[50000], 'a');
  mapped.storage()->release_pages();
  EXPECT_EQ(map->text()[50000], 'a');
  const Tensor ours = Tensor::from(std::vector<uint8_t>(100000, 7), {100000});
  ours.storage()->release_pages();  // nothing to read it from again
  EXPECT_EQ(ours.data<uint8_t>()[50000], 7);
}

}  // namespace
}  // namespace mora
