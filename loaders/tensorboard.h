// TensorBoard's event files, written without TensorFlow.
//
//   record    u64 length · u32 masked CRC-32C of those 8 bytes · payload · u32 masked CRC-32C of the payload
//   (little-endian) Event     {double wall_time = 1; int64 step = 2; string file_version = 3; Summary summary = 5}
//   (protocol buffers) Summary   {repeated Value value = 1},  Value {string tag = 1; float simple_value = 2}
//
// The first record's file_version is "brain.Event:2". Sources: tensorflow/core/lib/io/record_writer.cc, event.proto,
// summary.proto.
#pragma once

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>

namespace mora {

uint32_t crc32c(std::string_view bytes);         // Castagnoli, reflected 0x82F63B78
uint32_t masked_crc32c(std::string_view bytes);  // ((c >> 15) | (c << 17)) + 0xa282ead8

// One scalar in one record.
std::string tensorboard_record(double wall_time, int64_t step, std::string_view tag, float value);

// An events.out.tfevents.<seconds>.<host> file of its own; a resumed run opens another, and TensorBoard joins them.
class TensorboardWriter {
 public:
  explicit TensorboardWriter(const std::filesystem::path& directory);  // IoError when the file cannot be made

  void scalar(int64_t step, std::string_view tag, double value);
  void flush();  // IoError when the disk did not take it

 private:
  std::filesystem::path path_;
  std::ofstream file_;
};

}  // namespace mora
