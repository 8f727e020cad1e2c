#include "loaders/gguf.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <limits>

#include "engine/error.h"
#include "engine/parallel.h"
#include "loaders/quote.h"

namespace mora {
namespace {

static_assert(std::endian::native == std::endian::little, "GGUF holds little-endian values");

constexpr std::array<size_t, 13> kValueBytes = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};  // by GgufValueType; 0: varies
constexpr std::array<std::string_view, 13> kValueNames = {"u8",   "i8",     "u16",   "i16", "u32", "i32", "f32",
                                                          "bool", "string", "array", "u64", "i64", "f64"};
constexpr size_t kMinPair = 8 + 4 + 1, kMinTensor = 8 + 4 + 8 + 4 + 8;  // bytes of the shortest pair and tensor header
constexpr uint32_t kMaxDims = 4;                                        // ggml's
constexpr uint64_t kMaxAlignment = 1 << 20;

size_t bytes_of(GgufValueType type) { return kValueBytes[static_cast<size_t>(type)]; }
std::string_view name_of(GgufValueType type) { return kValueNames[static_cast<size_t>(type)]; }

template <class T>
T load(const std::byte* at) {
  T value;
  std::memcpy(&value, at, sizeof value);
  return value;
}

// Reads on through the map; each step first asks how much is left.
class Cursor {
 public:
  explicit Cursor(const MappedFile& file) : file_(file) {}

  std::string place(std::string_view what) const { return fmt::format("{}: {}", file_.path().string(), what); }
  size_t offset() const { return at_; }
  size_t left() const { return file_.size() - at_; }

  const std::byte* take(uint64_t bytes, std::string_view what) {
    require<IoError>(bytes <= left(), "{}: truncated: {} needs {} bytes at offset {}, {} are left",
                     file_.path().string(), what, bytes, at_, left());
    const std::byte* data = file_.data() + at_;
    at_ += bytes;
    return data;
  }
  template <class T>
  T read(std::string_view what) {
    return load<T>(take(sizeof(T), what));
  }
  std::string_view string(std::string_view what) {
    const auto length = read<uint64_t>(what);
    return {reinterpret_cast<const char*>(take(length, what)), length};
  }
  // A count of things of at least `least` bytes each, which the rest of the file must have room for.
  uint64_t count(size_t least, std::string_view what) {
    const auto n = read<uint64_t>(what);
    check_count(n, least, what);
    return n;
  }
  void check_count(uint64_t n, size_t least, std::string_view what) const {
    require<IoError>(n <= left() / least, "{}: {}: {} do not fit into the {} bytes that are left",
                     file_.path().string(), what, n, left());
  }

 private:
  const MappedFile& file_;
  size_t at_ = 0;
};

GgufValueType read_type(Cursor& cursor, const std::string& what) {
  const auto type = cursor.read<uint32_t>(what);
  require<IoError>(type < kValueBytes.size(), "{}: value type {} is none of the format's", cursor.place(what), type);
  return static_cast<GgufValueType>(type);
}

GgufValue read_value(Cursor& cursor, const std::string& what) {
  GgufValue value;
  value.type = read_type(cursor, what);
  if (value.type == GgufValueType::array) {
    value.is_array = true;
    value.type = read_type(cursor, what);
    require<IoError>(value.type != GgufValueType::array, "{}: arrays of arrays are not supported", cursor.place(what));
    const bool strings = value.type == GgufValueType::string;
    value.count = cursor.count(strings ? 8 : bytes_of(value.type), what);
  }
  if (value.type == GgufValueType::string) {
    value.data = cursor.take(0, what);
    for (uint64_t i = 0; i < value.count; ++i) cursor.string(what);
  } else {
    value.data = cursor.take(value.count * bytes_of(value.type), what);  // no overflow: the count fits the file
  }
  return value;
}

GgufTensor read_tensor(Cursor& cursor) {
  GgufTensor t;
  t.name = cursor.string("a tensor's name");
  const std::string what = "tensor " + quote(t.name), place = cursor.place(what);
  const auto rank = cursor.read<uint32_t>(what);
  require<IoError>(rank >= 1 && rank <= kMaxDims, "{}: {} dimensions, expected 1 to {}", place, rank, kMaxDims);
  uint64_t count = 1;
  for (uint32_t i = 0; i < rank; ++i) {
    const auto dim = cursor.read<uint64_t>(what);
    require<IoError>(dim >= 1 && dim <= static_cast<uint64_t>(INT64_MAX) && !__builtin_mul_overflow(count, dim, &count),
                     "{}: dimension {} of {} is out of range", place, i, dim);
    t.shape.insert(t.shape.begin(), static_cast<int64_t>(dim));
  }
  const auto type = cursor.read<uint32_t>(what);
  const GgmlFormat* format = find_ggml_format(type);
  require<IoError>(format != nullptr,
                   "{}: type {} is not supported; supported are F32 F16 BF16 Q8_0 Q4_0 Q4_1 Q5_0 Q5_1 Q4_K Q5_K Q6_K",
                   place, type);
  t.type = format->type;
  require<IoError>(t.columns() % format->block == 0, "{}: rows of {} are no whole {} blocks of {}", place, t.columns(),
                   format->name, format->block);
  const bool fits = !__builtin_mul_overflow(count / static_cast<uint64_t>(format->block), format->bytes, &t.bytes);
  require<IoError>(fits, "{}: its size overflows 64 bits", place);
  t.offset = cursor.read<uint64_t>(what);
  return t;
}

}  // namespace

int64_t GgufTensor::columns() const { return shape.back(); }
int64_t GgufTensor::rows() const {
  int64_t n = 1;
  for (size_t i = 0; i + 1 < shape.size(); ++i) n *= shape[i];
  return n;
}

std::string GgufFile::place(std::string_view what) const { return fmt::format("{}: {}", path().string(), what); }

GgufFile GgufFile::open(const std::filesystem::path& file) {
  GgufFile opened;
  opened.map_ = MappedFile::open(file);
  opened.parse();
  opened.index_.reserve(opened.tensors_.size());
  for (size_t i = 0; i < opened.tensors_.size(); ++i) {
    const bool fresh = opened.index_.emplace(opened.tensors_[i].name, i).second;
    require<IoError>(fresh, "{}: is there twice", opened.place("tensor " + quote(opened.tensors_[i].name)));
  }
  return opened;
}

void GgufFile::parse() {
  Cursor cursor(*map_);
  const auto* magic = reinterpret_cast<const char*>(cursor.take(4, "the magic"));
  require<IoError>(std::string_view(magic, 4) == "GGUF", "{}", place("no GGUF file: it does not begin with GGUF"));
  version_ = cursor.read<uint32_t>("the version");
  require<IoError>(version_ == 2 || version_ == 3, "{}: version {:#x} is not supported; supported are 2 and 3{}",
                   path().string(), version_, version_ & 0xFFFFu ? "" : ", little-endian");
  const auto tensor_count = cursor.read<uint64_t>("the tensor count");
  const auto pair_count = cursor.count(kMinPair, "the number of metadata pairs");
  for (uint64_t i = 0; i < pair_count; ++i) {
    const std::string key(cursor.string("a metadata key"));
    const GgufValue read = read_value(cursor, quote(key));
    require<IoError>(values_.emplace(key, read).second, "{}: is there twice", place(quote(key)));
  }
  cursor.check_count(tensor_count, kMinTensor, "the tensor count");
  for (uint64_t i = 0; i < tensor_count; ++i) tensors_.push_back(read_tensor(cursor));

  const auto alignment = static_cast<uint64_t>(integer("general.alignment", 32));
  require<IoError>(std::has_single_bit(alignment) && alignment <= kMaxAlignment,
                   "{}: expected a power of two of at most {}, got {}", place("general.alignment"), kMaxAlignment,
                   alignment);
  const size_t data = (cursor.offset() + alignment - 1) / alignment * alignment;
  for (GgufTensor& t : tensors_) {
    const std::string where = place("tensor " + quote(t.name));
    require<IoError>(t.offset % alignment == 0, "{}: offset {} is no multiple of the alignment {}", where, t.offset,
                     alignment);
    const size_t room = map_->size() > data ? map_->size() - data : 0;
    require<IoError>(t.bytes <= room && t.offset <= room - t.bytes,
                     "{}: truncated: {} bytes at offset {} of the data, the file has {}", where, t.bytes, t.offset,
                     room);
    t.offset += data;
  }
}

const GgufTensor* GgufFile::find(std::string_view name) const {
  const auto found = index_.find(name);
  return found == index_.end() ? nullptr : &tensors_[found->second];
}

const GgufValue& GgufFile::value(std::string_view key, bool array) const {
  const auto found = values_.find(key);
  require<IoError>(found != values_.end(), "{}: is missing", place(key));
  require<IoError>(found->second.is_array == array, "{}: expected {}", place(key), array ? "an array" : "no array");
  return found->second;
}

namespace {

int64_t integer_at(GgufValueType type, const std::byte* at, const std::string& place) {
  switch (type) {
    case GgufValueType::u8: return load<uint8_t>(at);
    case GgufValueType::i8: return load<int8_t>(at);
    case GgufValueType::u16: return load<uint16_t>(at);
    case GgufValueType::i16: return load<int16_t>(at);
    case GgufValueType::u32: return load<uint32_t>(at);
    case GgufValueType::i32: return load<int32_t>(at);
    case GgufValueType::i64: return load<int64_t>(at);
    case GgufValueType::u64: {
      const auto wide = load<uint64_t>(at);
      require<IoError>(wide <= static_cast<uint64_t>(INT64_MAX), "{}: {} is out of range", place, wide);
      return static_cast<int64_t>(wide);
    }
    default: fail<IoError>("{}: expected an integer, got {}", place, name_of(type));
  }
}

double number_at(GgufValueType type, const std::byte* at, const std::string& place) {
  if (type == GgufValueType::f32) return load<float>(at);
  if (type == GgufValueType::f64) return load<double>(at);
  fail<IoError>("{}: expected a floating number, got {}", place, name_of(type));
}

}  // namespace

int64_t GgufFile::integer(std::string_view key, std::optional<int64_t> otherwise) const {
  if (otherwise && !has(key)) return *otherwise;
  const GgufValue& found = value(key, false);
  return integer_at(found.type, found.data, place(key));
}

double GgufFile::number(std::string_view key, std::optional<double> otherwise) const {
  if (otherwise && !has(key)) return *otherwise;
  const GgufValue& found = value(key, false);
  return number_at(found.type, found.data, place(key));
}

bool GgufFile::boolean(std::string_view key, std::optional<bool> otherwise) const {
  if (otherwise && !has(key)) return *otherwise;
  const GgufValue& found = value(key, false);
  require<IoError>(found.type == GgufValueType::boolean, "{}: expected a bool, got {}", place(key),
                   name_of(found.type));
  return load<uint8_t>(found.data) != 0;
}

std::string GgufFile::string(std::string_view key, std::optional<std::string> otherwise) const {
  if (otherwise && !has(key)) return *std::move(otherwise);
  const GgufValue& found = value(key, false);
  require<IoError>(found.type == GgufValueType::string, "{}: expected a string, got {}", place(key),
                   name_of(found.type));
  return {reinterpret_cast<const char*>(found.data + 8), load<uint64_t>(found.data)};
}

std::vector<std::string_view> GgufFile::strings(std::string_view key) const {
  const GgufValue& found = value(key, true);
  require<IoError>(found.type == GgufValueType::string, "{}: expected strings, got {}", place(key),
                   name_of(found.type));
  std::vector<std::string_view> list(found.count);
  const std::byte* at = found.data;
  for (std::string_view& item : list) {
    item = {reinterpret_cast<const char*>(at + 8), load<uint64_t>(at)};
    at += 8 + item.size();
  }
  return list;
}

std::vector<int64_t> GgufFile::integers(std::string_view key) const {
  const GgufValue& found = value(key, true);
  std::vector<int64_t> list(found.count);
  for (size_t i = 0; i < list.size(); ++i)
    list[i] = integer_at(found.type, found.data + i * bytes_of(found.type), place(key));
  return list;
}

std::vector<double> GgufFile::numbers(std::string_view key) const {
  const GgufValue& found = value(key, true);
  std::vector<double> list(found.count);
  for (size_t i = 0; i < list.size(); ++i)
    list[i] = number_at(found.type, found.data + i * bytes_of(found.type), place(key));
  return list;
}

Tensor GgufFile::tensor(const GgufTensor& info, DType dtype, const std::vector<int64_t>& row_order) const {
  const GgmlFormat& format = format_of(info.type);
  require<IoError>(format.dequantize != nullptr, "{}: {} is not supported", place("tensor " + quote(info.name)),
                   format.name);
  invariant(dtype == DType::f32 || dtype == DType::bf16, "GGUF tensors become f32 or bf16");
  map_->require_whole();
  const Shape shape{std::span<const int64_t>(info.shape)};
  const std::byte* data = map_->data() + info.offset;
  const bool as_it_is =
      (info.type == GgmlType::f32 && dtype == DType::f32) || (info.type == GgmlType::bf16 && dtype == DType::bf16);
  if (as_it_is && row_order.empty() && reinterpret_cast<uintptr_t>(data) % size_of(dtype) == 0)
    return Tensor::foreign(data, shape, dtype, map_);

  Tensor out = Tensor::empty(shape, dtype);
  const int64_t columns = info.columns(), blocks = columns / format.block;
  auto* to = static_cast<std::byte*>(out.mutable_raw());
  parallel_for(info.rows(), std::max<int64_t>(1, (1 << 16) / columns), [&](int64_t begin, int64_t end) {
    std::vector<float> row(dtype == DType::f32 ? 0 : static_cast<size_t>(columns));
    for (int64_t i = begin; i < end; ++i) {
      const auto source = static_cast<size_t>(row_order.empty() ? i : row_order[static_cast<size_t>(i)]);
      const auto* from = reinterpret_cast<const uint8_t*>(data) + source * static_cast<size_t>(blocks) * format.bytes;
      std::byte* target = to + static_cast<size_t>(i * columns) * size_of(dtype);
      float* floats = dtype == DType::f32 ? reinterpret_cast<float*>(target) : row.data();
      format.dequantize(from, blocks, floats);
      if (dtype == DType::bf16)
        std::transform(row.begin(), row.end(), reinterpret_cast<bf16_t*>(target), [](float x) { return bf16_t(x); });
    }
  });
  return out;
}

}  // namespace mora
