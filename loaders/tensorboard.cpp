#include "loaders/tensorboard.h"

#include <unistd.h>

#include <array>
#include <bit>
#include <chrono>

#include "engine/error.h"

namespace mora {
namespace {

constexpr std::array<uint32_t, 256> crc_table() {
  std::array<uint32_t, 256> table{};
  for (uint32_t byte = 0; byte < 256; ++byte) {
    uint32_t c = byte;
    for (int bit = 0; bit < 8; ++bit) c = (c >> 1) ^ ((c & 1) != 0 ? 0x82F63B78U : 0U);
    table[byte] = c;
  }
  return table;
}

double seconds_now() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

template <class T>
std::string little_endian(T value) {
  std::string bytes(sizeof value, '\0');
  for (size_t i = 0; i < sizeof value; ++i) bytes[i] = static_cast<char>(value >> (8 * i) & 0xff);
  return bytes;
}

// The wire format of protocol buffers: a key (field << 3 | type), then the value.
enum Wire : uint8_t { kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5 };

std::string varint(uint64_t value) {
  std::string bytes;
  for (; value >= 0x80; value >>= 7) bytes += static_cast<char>((value & 0x7f) | 0x80);
  return bytes + static_cast<char>(value);
}

std::string field(uint64_t number, Wire type, const std::string& value) { return varint(number << 3 | type) + value; }
std::string bytes_field(uint64_t number, std::string_view value) {
  return field(number, kBytes, varint(value.size()) + std::string(value));
}

std::string record(const std::string& payload) {
  const std::string length = little_endian(uint64_t{payload.size()});
  return length + little_endian(masked_crc32c(length)) + payload + little_endian(masked_crc32c(payload));
}

std::string wall_time_field(double seconds) {
  return field(1, kFixed64, little_endian(std::bit_cast<uint64_t>(seconds)));
}

// A summary of one value; `content` are its fields but for the tag.
std::string point_record(double wall_time, int64_t step, std::string_view tag, const std::string& content) {
  return record(wall_time_field(wall_time) + field(2, kVarint, varint(static_cast<uint64_t>(step))) +
                bytes_field(5, bytes_field(1, bytes_field(1, tag) + content)));
}

std::string host_name() {
  std::array<char, 256> name{};
  return gethostname(name.data(), name.size() - 1) == 0 && name[0] != '\0' ? name.data() : "localhost";
}

}  // namespace

uint32_t crc32c(std::string_view bytes) {
  static constexpr std::array<uint32_t, 256> table = crc_table();
  uint32_t c = 0xffffffff;
  for (char byte : bytes) c = table[(c ^ static_cast<unsigned char>(byte)) & 0xff] ^ (c >> 8);
  return ~c;
}

uint32_t masked_crc32c(std::string_view bytes) { return std::rotr(crc32c(bytes), 15) + 0xa282ead8U; }

std::string tensorboard_record(double wall_time, int64_t step, std::string_view tag, float value) {
  return point_record(wall_time, step, tag, field(2, kFixed32, little_endian(std::bit_cast<uint32_t>(value))));
}

std::string tensorboard_record(double wall_time, int64_t step, std::string_view tag, std::string_view text) {
  const std::string tensor = field(1, kVarint, varint(7)) + bytes_field(2, "") + bytes_field(8, text);
  const std::string metadata = bytes_field(1, bytes_field(1, "text")) + field(4, kVarint, varint(2));
  return point_record(wall_time, step, tag, bytes_field(8, tensor) + bytes_field(9, metadata));
}

TensorboardWriter::TensorboardWriter(const std::filesystem::path& directory) {
  const auto seconds = static_cast<int64_t>(seconds_now());
  for (int64_t name = seconds;; ++name) {  // two runs within a second do not share a file
    path_ = directory / ("events.out.tfevents." + std::to_string(name) + "." + host_name());
    if (!std::filesystem::exists(path_)) break;
  }
  file_.open(path_, std::ios::binary);
  file_ << record(wall_time_field(seconds_now()) + bytes_field(3, "brain.Event:2"));
  flush();
}

void TensorboardWriter::scalar(int64_t step, std::string_view tag, double value) {
  file_ << tensorboard_record(seconds_now(), step, tag, static_cast<float>(value));
}

void TensorboardWriter::text(int64_t step, std::string_view tag, std::string_view text) {
  std::string code = "    ";  // a block of code in Markdown: each line as it is
  for (const char c : text) code += c == '\n' ? std::string("\n    ") : std::string(1, c);
  file_ << tensorboard_record(seconds_now(), step, tag, code);
}

void TensorboardWriter::flush() {
  file_.flush();
  require<IoError>(file_.good(), "{}: cannot be written", path_.string());
}

}  // namespace mora
