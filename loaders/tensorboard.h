// TensorBoard's event files, written without TensorFlow.
//
//   record    u64 length · u32 masked CRC-32C of those 8 bytes · payload · u32 masked CRC-32C of the payload
//   (little-endian) Event     {double wall_time = 1; int64 step = 2; string file_version = 3; Summary summary = 5}
//   (protocol buffers) Summary   {repeated Value value = 1}
//     Value {string tag = 1; float simple_value = 2; TensorProto tensor = 8; SummaryMetadata metadata = 9}
//     TensorProto {enum dtype = 1 (7: string); TensorShapeProto tensor_shape = 2; repeated bytes string_val = 8}
//     SummaryMetadata {PluginData plugin_data = 1; enum data_class = 4 (2: tensor)},  PluginData {string plugin_name =
//     1}
//
// The first record's file_version is "brain.Event:2". Sources: tensorflow/core/lib/io/record_writer.cc, event.proto,
// summary.proto, tensor.proto.
#pragma once

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>

namespace mora {

uint32_t crc32c(std::string_view bytes);         // Castagnoli, reflected 0x82F63B78
uint32_t masked_crc32c(std::string_view bytes);  // ((c >> 15) | (c << 17)) + 0xa282ead8

// One scalar, or one text, in one record. The text is shown as Markdown.
std::string tensorboard_record(double wall_time, int64_t step, std::string_view tag, float value);
std::string tensorboard_record(double wall_time, int64_t step, std::string_view tag, std::string_view text);

// An events.out.tfevents.<seconds>.<host> file of its own; a resumed run opens another, and TensorBoard joins them.
class TensorboardWriter {
 public:
  explicit TensorboardWriter(const std::filesystem::path& directory);  // IoError when the file cannot be made

  void scalar(int64_t step, std::string_view tag, double value);
  void text(int64_t step, std::string_view tag, std::string_view text);  // shown as it is, line by line
  void flush();                                                          // IoError when the disk did not take it

 private:
  std::filesystem::path path_;
  std::ofstream file_;
};

}  // namespace mora
