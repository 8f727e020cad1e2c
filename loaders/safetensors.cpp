#include "loaders/safetensors.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <nlohmann/json.hpp>
#include <optional>

#include "engine/error.h"
#include "loaders/durable_file.h"
#include "loaders/json.h"
#include "loaders/quote.h"
#include "loaders/utf8.h"

namespace mora {

// A tensor as errors name it; the text is made only where there is one.
struct TensorPlace {
  const std::filesystem::path& file;
  const std::string& name;
};

}  // namespace mora

template <>
struct fmt::formatter<mora::TensorPlace> : fmt::formatter<std::string> {
  auto format(const mora::TensorPlace& place, fmt::format_context& context) const {
    return fmt::formatter<std::string>::format(
        fmt::format("{}: tensor {}", place.file.string(), mora::quote(place.name)), context);
  }
};

namespace mora {
namespace {

using nlohmann::json;

static_assert(std::endian::native == std::endian::little, "safetensors holds little-endian values");

constexpr size_t kMaxHeader = 100'000'000;  // the reference reader's limit
constexpr size_t kMaxDimensions = 64;

struct FileDType {
  std::string_view name;
  uint64_t bits;
  std::optional<DType> dtype;  // empty: legal in a file, not computed with
};

// In the reference's order, by which its writer sorts (descending).
constexpr std::array<FileDType, 22> kFileDTypes = {{
    {"BOOL", 8, DType::boolean},
    {"F4", 4, {}},
    {"F6_E2M3", 6, {}},
    {"F6_E3M2", 6, {}},
    {"U8", 8, DType::u8},
    {"I8", 8, {}},
    {"F8_E5M2", 8, {}},
    {"F8_E4M3", 8, {}},
    {"F8_E8M0", 8, {}},
    {"F8_E4M3FNUZ", 8, {}},
    {"F8_E5M2FNUZ", 8, {}},
    {"I16", 16, {}},
    {"U16", 16, {}},
    {"F16", 16, DType::f16},
    {"BF16", 16, DType::bf16},
    {"I32", 32, DType::i32},
    {"U32", 32, {}},
    {"F32", 32, DType::f32},
    {"C64", 64, {}},
    {"F64", 64, DType::f64},
    {"I64", 64, DType::i64},
    {"U64", 64, {}},
}};

const FileDType* find_dtype(std::string_view name) {
  const auto* found = std::ranges::find(kFileDTypes, name, &FileDType::name);
  return found == kFileDTypes.end() ? nullptr : found;
}

size_t rank_of(DType dtype) {
  return static_cast<size_t>(std::ranges::find(kFileDTypes, std::optional(dtype), &FileDType::dtype) -
                             kFileDTypes.begin());
}

const json& field(const json& tensor, const char* key, const TensorPlace& place) {
  require<IoError>(tensor.is_object(), "{}: expected an object, got {}", place, tensor.type_name());
  const auto found = tensor.find(key);
  require<IoError>(found != tensor.end(), "{}: {} is missing", place, key);
  return *found;
}

std::vector<uint64_t> unsigned_list(const json& value, const char* key, const TensorPlace& place) {
  require<IoError>(value.is_array(), "{}: {}: expected an array, got {}", place, key, value.type_name());
  std::vector<uint64_t> list;
  list.reserve(value.size());
  for (const json& item : value) {
    require<IoError>(item.is_number_unsigned(), "{}: {}: expected integers from 0 to 2^64-1, got {}", place, key,
                     quote(item.is_number() ? item.dump() : item.type_name()));
    list.push_back(item.get<uint64_t>());
  }
  return list;
}

TensorInfo parse_tensor(const std::string& name, const json& value, const TensorPlace& place) {
  TensorInfo info;
  info.name = name;
  const json& dtype = field(value, "dtype", place);
  require<IoError>(dtype.is_string(), "{}: dtype: expected a string, got {}", place, dtype.type_name());
  const FileDType* known = find_dtype(dtype.get_ref<const std::string&>());
  require<IoError>(known != nullptr, "{}: dtype: {} is none of the format's types", place,
                   quote(dtype.get_ref<const std::string&>()));
  info.dtype = known->name;
  info.shape = unsigned_list(field(value, "shape", place), "shape", place);
  require<IoError>(info.shape.size() <= kMaxDimensions, "{}: shape: {} dimensions, at most {} are read", place,
                   info.shape.size(), kMaxDimensions);
  const auto offsets = unsigned_list(field(value, "data_offsets", place), "data_offsets", place);
  require<IoError>(offsets.size() == 2, "{}: data_offsets: expected 2 numbers, got {}", place, offsets.size());
  info.begin = offsets[0];
  info.end = offsets[1];
  return info;
}

StringMap parse_metadata(const json& value, const std::string& file) {
  if (value.is_null()) return {};
  require<IoError>(value.is_object(), "{}: __metadata__: expected an object, got {}", file, value.type_name());
  StringMap metadata;
  for (const auto& [key, item] : value.items()) {
    require<IoError>(item.is_string(), "{}: __metadata__: {}: expected a string, got {}", file, quote(key),
                     item.type_name());
    metadata.emplace(key, item.get<std::string>());
  }
  return metadata;
}

std::string shape_text(const std::vector<uint64_t>& shape) { return fmt::format("({})", fmt::join(shape, ", ")); }

// Bytes of a tensor; the products are checked in the reference's order, so that [2^63, 4, 0] overflows.
uint64_t checked_bytes(const TensorInfo& info, const TensorPlace& place) {
  uint64_t bits = 1;
  bool fits = true;
  for (const uint64_t dim : info.shape) fits = fits && !__builtin_mul_overflow(bits, dim, &bits);
  fits = fits && !__builtin_mul_overflow(bits, find_dtype(info.dtype)->bits, &bits);
  require<IoError>(fits, "{}: shape {} of {} overflows 64 bits", place, shape_text(info.shape), info.dtype);
  require<IoError>(bits % 8 == 0, "{}: shape {} of {} is no whole number of bytes", place, shape_text(info.shape),
                   info.dtype);
  return bits / 8;
}

}  // namespace

SafetensorsFile SafetensorsFile::open(const std::filesystem::path& file) {
  SafetensorsFile opened;
  opened.map_ = MappedFile::open(file);
  const std::string_view content = opened.map_->text();
  require<IoError>(content.size() >= 8,
                   "{}: only {} bytes, a safetensors file begins with 8 that hold its header's length", file.string(),
                   content.size());
  uint64_t header_bytes = 0;
  std::memcpy(&header_bytes, content.data(), 8);
  require<IoError>(header_bytes <= kMaxHeader, "{}: header length {} is over the format's limit of {}", file.string(),
                   header_bytes, kMaxHeader);
  require<IoError>(header_bytes <= content.size() - 8,
                   "{}: truncated: the header has {} bytes, the file {} after its length", file.string(), header_bytes,
                   content.size() - 8);
  opened.data_begin_ = 8 + header_bytes;
  opened.parse_header(content.substr(8, header_bytes));
  opened.check_layout();
  opened.index_.reserve(opened.tensors_.size());
  for (size_t i = 0; i < opened.tensors_.size(); ++i) opened.index_.emplace(opened.tensors_[i].name, i);
  return opened;
}

void SafetensorsFile::parse_header(std::string_view text) {
  const std::string file = path().string();
  require<IoError>(valid_utf8_prefix(text) == text.size(), "{}: header: not UTF-8", file);
  parse_json_members(text, file + ": header", [&](const std::string& name, const json& value) {
    if (name == "__metadata__") {
      metadata_ = parse_metadata(value, file);
    } else {
      tensors_.push_back(parse_tensor(name, value, {path(), name}));
    }
  });
  const auto place = [](const TensorInfo& t) { return std::pair(t.begin, t.end); };
  if (!std::ranges::is_sorted(tensors_, {}, place)) std::ranges::stable_sort(tensors_, {}, place);  // it takes a buffer
}

void SafetensorsFile::check_layout() const {
  size_t at = 0;
  for (const TensorInfo& t : tensors_) {
    const TensorPlace place{path(), t.name};
    require<IoError>(t.end >= t.begin, "{}: data_offsets: end {} is before begin {}", place, t.end, t.begin);
    require<IoError>(t.begin == at, "{}: data_offsets: begins at {}, expected {} ({})", place, t.begin, at,
                     t.begin < at ? "it overlaps the tensor before" : "a hole before it");
    at = t.end;
    const uint64_t bytes = checked_bytes(t, place);
    require<IoError>(bytes == t.bytes(), "{}: shape {} of {} needs {} bytes, data_offsets span {}", place,
                     shape_text(t.shape), t.dtype, bytes, t.bytes());
  }
  const size_t data = map_->size() - data_begin_;
  require<IoError>(at <= data, "{}: truncated: the tensors need {} bytes of data, the file has {}; copy it anew",
                   path().string(), at, data);
  require<IoError>(at == data, "{}: {} trailing bytes after the last tensor", path().string(), data - at);
}

const TensorInfo* SafetensorsFile::find(std::string_view name) const {
  const auto found = index_.find(name);
  return found == index_.end() ? nullptr : &tensors_[found->second];
}

Tensor SafetensorsFile::tensor(std::string_view name) const {
  const TensorInfo* info = find(name);
  require<IoError>(info != nullptr, "{}: has no tensor {}", path().string(), quote(name));
  return tensor(*info);
}

Tensor SafetensorsFile::tensor(const TensorInfo& info) const {
  const TensorPlace place{path(), info.name};
  const DType dtype = dtype_from_safetensors(info.dtype, fmt::format("{}", place));
  require<IoError>(info.shape.size() <= max_rank, "{}: {} dimensions, MoRA's tensors have at most {}", place,
                   info.shape.size(), max_rank);
  const std::vector<int64_t> dims(info.shape.begin(), info.shape.end());
  const bool in_range = std::ranges::all_of(dims, [](int64_t d) { return d >= 0; });
  require<IoError>(in_range, "{}: shape {} is too large", place, shape_text(info.shape));
  map_->require_whole();
  const Shape shape{std::span<const int64_t>(dims)};
  const std::byte* bytes = map_->data() + data_begin_ + info.begin;
  const bool aligned = reinterpret_cast<uintptr_t>(bytes) % size_of(dtype) == 0;
  if (aligned && dtype != DType::boolean) return Tensor::foreign(bytes, shape, dtype, map_);
  Tensor copy = Tensor::empty(shape, dtype);
  if (dtype == DType::boolean) {  // any byte but 0 and 1 would be an invalid bool
    std::transform(bytes, bytes + info.bytes(), copy.mutable_data<bool>(),
                   [](std::byte b) { return b != std::byte{0}; });
  } else if (info.bytes() > 0) {
    std::memcpy(copy.mutable_raw(), bytes, info.bytes());
  }
  return copy;
}

DType dtype_from_safetensors(std::string_view dtype, std::string_view place) {
  const FileDType* known = find_dtype(dtype);
  require<IoError>(known && known->dtype, "{}: MoRA does not compute with {} (F64 F32 F16 BF16 I64 I32 U8 BOOL)", place,
                   dtype);
  return *known->dtype;
}

std::string_view dtype_to_safetensors(DType dtype) { return kFileDTypes[rank_of(dtype)].name; }

void write_safetensors(const std::filesystem::path& file, std::vector<TensorToWrite> tensors,
                       const StringMap& metadata) {
  std::ranges::sort(tensors, [](const TensorToWrite& a, const TensorToWrite& b) {
    const size_t rank_a = rank_of(a.meta.dtype), rank_b = rank_of(b.meta.dtype);
    return rank_a != rank_b ? rank_a > rank_b : a.name < b.name;
  });
  std::string header = "{";
  if (!metadata.empty()) header += "\"__metadata__\":" + json(metadata).dump() + ",";
  size_t at = 0;
  for (const TensorToWrite& t : tensors) {
    const size_t end = at + static_cast<size_t>(t.meta.shape.numel()) * size_of(t.meta.dtype);
    header += fmt::format(R"({}:{{"dtype":"{}","shape":[{}],"data_offsets":[{},{}]}},)", json(t.name).dump(),
                          dtype_to_safetensors(t.meta.dtype), fmt::join(t.meta.shape, ","), at, end);
    at = end;
  }
  if (header.back() == ',') header.pop_back();
  header += '}';
  header.resize((header.size() + 7) / 8 * 8, ' ');

  DurableFile out(file);
  const uint64_t header_bytes = header.size();
  out.write(&header_bytes, sizeof header_bytes);
  out.write(header);
  for (const TensorToWrite& t : tensors) {
    const Tensor tensor = t.load().to(cpu);
    invariant(tensor.shape() == t.meta.shape && tensor.dtype() == t.meta.dtype && tensor.is_contiguous(),
              "{}: tensor '{}' is not what was announced", file.string(), t.name);
    out.write(tensor.raw(), tensor.bytes());
  }
  out.commit();
}

void write_safetensors(const std::filesystem::path& file, const std::map<std::string, Tensor>& tensors,
                       const StringMap& metadata) {
  std::vector<TensorToWrite> list;
  for (const auto& [name, tensor] : tensors) list.push_back({name, tensor.meta(), [&t = tensor] { return t; }});
  write_safetensors(file, std::move(list), metadata);
}

}  // namespace mora
