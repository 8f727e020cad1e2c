// safetensors: N (u64, little-endian), N bytes of JSON, then the tensors' bytes without gaps.
//
//   {"name": {"dtype": "F32", "shape": [2, 3], "data_offsets": [begin, end]}, …, "__metadata__": {string: string}}
//
// The checks and their order are those of the format's reference reader (huggingface/safetensors,
// `Metadata::validate`); duplicate keys, which the format's text forbids, are refused too.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "engine/tensor.h"
#include "loaders/mapped_file.h"

namespace mora {

struct TensorInfo {
  std::string name;
  std::string_view dtype;       // as the file spells it: "F32", "BF16", …
  std::vector<uint64_t> shape;  // any rank, outermost first; the product fits in 64 bits
  size_t begin = 0, end = 0;    // bytes, from the start of the data

  size_t bytes() const { return end - begin; }
};

using StringMap = std::map<std::string, std::string>;

class SafetensorsFile {
 public:
  // Maps the file and checks all of it but the values. Throws IoError.
  static SafetensorsFile open(const std::filesystem::path& file);
  SafetensorsFile(SafetensorsFile&&) = default;
  SafetensorsFile& operator=(SafetensorsFile&&) = default;

  const std::filesystem::path& path() const { return map_->path(); }
  const std::vector<TensorInfo>& tensors() const { return tensors_; }  // in the order of their bytes
  const TensorInfo* find(std::string_view name) const;                 // nullptr when absent
  const StringMap& metadata() const { return metadata_; }

  // The tensor, aliasing the map; a copy only where the bytes are not aligned for the dtype, or for BOOL. Throws
  // IoError when the file has no such tensor, or one of a dtype that MoRA does not compute with.
  Tensor tensor(std::string_view name) const;
  Tensor tensor(const TensorInfo& info) const;

 private:
  SafetensorsFile() = default;
  void parse_header(std::string_view header);
  void check_layout() const;

  std::shared_ptr<const MappedFile> map_;
  size_t data_begin_ = 0;
  std::vector<TensorInfo> tensors_;
  std::unordered_map<std::string_view, size_t> index_;  // its keys are the names in tensors_
  StringMap metadata_;
};

// MoRA's type for a dtype of the format. Throws IoError, with `where` in front, for the ones it does not compute with.
DType dtype_from_safetensors(std::string_view dtype, std::string_view where);
std::string_view dtype_to_safetensors(DType dtype);

// A tensor to be written: `load` is called once, when its turn comes, so that memory holds one tensor at a time.
struct TensorToWrite {
  std::string name;
  Meta meta;
  std::function<Tensor()> load;
};

// Writes as the reference writer does: widest dtype first (I64 F64 F32 I32 BF16 F16 U8 BOOL), then by name, no gaps,
// the header padded with spaces to a multiple of 8. Throws IoError when the file cannot be written.
void write_safetensors(const std::filesystem::path& file, std::vector<TensorToWrite> tensors,
                       const StringMap& metadata = {{"format", "pt"}});
void write_safetensors(const std::filesystem::path& file, const std::map<std::string, Tensor>& tensors,
                       const StringMap& metadata = {{"format", "pt"}});

}  // namespace mora
