// GGUF versions 2 and 3, little-endian: what llama.cpp runs.
//
//   "GGUF", version (u32), tensors (u64), pairs (u64), pairs of key and value, tensor headers, padding to
//   general.alignment (32 if absent), data
//
// A string is a u64 length and its bytes. A tensor header is name, dimensions (u32; the innermost first, u64 each),
// type (u32) and offset into the data. Every length is checked against what is left of the file before it is used.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "engine/tensor.h"
#include "loaders/gguf_quants.h"
#include "loaders/mapped_file.h"

namespace mora {

// Numbered as in the file.
enum class GgufValueType : uint32_t { u8, i8, u16, i16, u32, i32, f32, boolean, string, array, u64, i64, f64 };

// A value where it lies in the map; checked to be whole.
struct GgufValue {
  GgufValueType type = GgufValueType::u8;  // of the value, or of an array's elements
  bool is_array = false;
  uint64_t count = 1;
  const std::byte* data = nullptr;
};

struct GgufTensor {
  std::string name;
  GgmlType type{};
  std::vector<int64_t> shape;    // outermost first
  size_t offset = 0, bytes = 0;  // in the file

  int64_t rows() const;     // all but the last dimension
  int64_t columns() const;  // the last
};

class GgufFile {
 public:
  // Maps and checks the file. Throws IoError.
  static GgufFile open(const std::filesystem::path& file);
  GgufFile(GgufFile&&) = default;
  GgufFile& operator=(GgufFile&&) = default;

  const std::filesystem::path& path() const { return map_->path(); }
  uint32_t version() const { return version_; }
  const std::vector<GgufTensor>& tensors() const { return tensors_; }
  const GgufTensor* find(std::string_view name) const;  // nullptr when absent

  const std::map<std::string, GgufValue, std::less<>>& values() const { return values_; }
  bool has(std::string_view key) const { return values_.contains(key); }
  // The value of a key, with its type checked: integers of any width, f32 or f64. Without `otherwise` the key must be
  // there. Throw IoError that names the key.
  int64_t integer(std::string_view key, std::optional<int64_t> otherwise = {}) const;
  double number(std::string_view key, std::optional<double> otherwise = {}) const;
  bool boolean(std::string_view key, std::optional<bool> otherwise = {}) const;
  std::string string(std::string_view key, std::optional<std::string> otherwise = {}) const;
  std::vector<std::string_view> strings(std::string_view key) const;  // views of the map
  std::vector<int64_t> integers(std::string_view key) const;
  std::vector<double> numbers(std::string_view key) const;

  // The tensor's values in f32 or bf16. F32 and BF16 alias the map where they are asked for as they are. `row_order`,
  // if not empty, tells which row of the file becomes row i.
  Tensor tensor(const GgufTensor& info, DType dtype, const std::vector<int64_t>& row_order = {}) const;

  // "FILE: WHAT": the start of an error.
  std::string place(std::string_view what) const;

 private:
  GgufFile() = default;
  void parse();
  const GgufValue& value(std::string_view key, bool array) const;

  std::shared_ptr<const MappedFile> map_;
  uint32_t version_ = 0;
  std::map<std::string, GgufValue, std::less<>> values_;
  std::vector<GgufTensor> tensors_;
  std::unordered_map<std::string_view, size_t> index_;  // its keys are the names in tensors_
};

}  // namespace mora
