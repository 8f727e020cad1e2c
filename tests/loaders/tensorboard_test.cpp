// Event files: the checksum's published vectors, a record spelled out byte by byte, and a file read back by the rules.
#include "loaders/tensorboard.h"

#include <gtest/gtest.h>

#include <unistd.h>
#include <iterator>
#include <vector>

namespace mora {
namespace {

TEST(Tensorboard, Crc32cOfThePublishedVectors) {  // RFC 3720, appendix B.4
  EXPECT_EQ(crc32c(std::string(32, '\0')), 0x8a9136aaU);
  EXPECT_EQ(crc32c(std::string(32, '\xff')), 0x62a8ab43U);
  std::string rising, falling;
  for (int i = 0; i < 32; ++i) rising += static_cast<char>(i), falling += static_cast<char>(31 - i);
  EXPECT_EQ(crc32c(rising), 0x46dd794eU);
  EXPECT_EQ(crc32c(falling), 0x113fdb5cU);
  EXPECT_EQ(crc32c("123456789"), 0xe3069283U);
  EXPECT_EQ(crc32c(""), 0U);
}

TEST(Tensorboard, TheMaskRotatesAndAdds) {
  const uint32_t c = 0xe3069283U;
  EXPECT_EQ(masked_crc32c("123456789"), static_cast<uint32_t>((c >> 15 | c << 17) + 0xa282ead8U));
}

uint64_t little(std::string_view bytes) {
  uint64_t value = 0;
  for (size_t i = bytes.size(); i-- > 0;) value = value << 8 | static_cast<unsigned char>(bytes[i]);
  return value;
}

// The payloads of a file's records, each with its two checksums checked.
std::vector<std::string> payloads(std::string_view bytes) {
  std::vector<std::string> result;
  while (!bytes.empty()) {
    const size_t length = little(bytes.substr(0, 8));
    EXPECT_EQ(little(bytes.substr(8, 4)), masked_crc32c(bytes.substr(0, 8)));
    result.emplace_back(bytes.substr(12, length));
    EXPECT_EQ(little(bytes.substr(12 + length, 4)), masked_crc32c(result.back()));
    bytes.remove_prefix(16 + length);
  }
  return result;
}

TEST(Tensorboard, ARecordByteByByte) {
  const std::string expected = std::string("\x09\0\0\0\0\0\0\xf8\x3f", 9) +  // wall_time 1.5
                               "\x10\xac\x02" +                              // step 300
                               "\x2a\x0d\x0a\x0b\x0a\x04loss\x15" +  // summary { value { tag "loss" simple_value
                               std::string("\0\0\x80\x3e", 4);       // 0.25 } }
  EXPECT_EQ(payloads(tensorboard_record(1.5, 300, "loss", 0.25F)), std::vector<std::string>{expected});
}

TEST(Tensorboard, ATextByteByByte) {
  const std::string expected = std::string("\x09\0\0\0\0\0\0\xf8\x3f", 9) +             // wall_time 1.5
                               "\x10\xac\x02" +                                         // step 300
                               "\x2a\x1d\x0a\x1b\x0a\x03say" +                          // summary { value { tag "say"
                               std::string("\x42\x08\x08\x07\x12\x00\x42\x02hi", 10) +  // tensor { string, {}, "hi" }
                               "\x4a\x0a\x0a\x06\x0a\x04text\x20\x02";  // metadata { plugin "text", tensor } } }
  EXPECT_EQ(payloads(tensorboard_record(1.5, 300, "say", std::string_view("hi"))), std::vector<std::string>{expected});
}

TEST(Tensorboard, AFileOpensWithItsVersionAndKeepsTheOrder) {
  const auto directory = std::filesystem::temp_directory_path() / ("mora_events_" + std::to_string(::getpid()));
  std::filesystem::create_directories(directory);
  for (int run = 0; run < 2; ++run) {  // the second, as after a resume, takes a file of its own
    TensorboardWriter writer(directory);
    writer.scalar(1, "train/loss", 0.5);
    writer.scalar(2, "train/loss", 0.25);
    writer.flush();
  }
  int files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(directory)) {
    ++files;
    EXPECT_EQ(entry.path().filename().string().rfind("events.out.tfevents.", 0), 0U);
    std::ifstream file(entry.path(), std::ios::binary);
    const auto records = payloads(std::string(std::istreambuf_iterator<char>(file), {}));
    ASSERT_EQ(records.size(), 3U);
    EXPECT_EQ(records[0].substr(9),
              "\x1a\x0d"
              "brain.Event:2");
    EXPECT_EQ(records[2].substr(9, 2), "\x10\x02");
  }
  EXPECT_EQ(files, 2);
  std::filesystem::remove_all(directory);
}

}  // namespace
}  // namespace mora
