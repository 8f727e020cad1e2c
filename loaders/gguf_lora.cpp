#include <algorithm>
#include <cstring>

#include "engine/error.h"
#include "loaders/durable_file.h"
#include "loaders/gguf_model.h"
#include "loaders/quote.h"

namespace mora {
namespace {

constexpr uint32_t kVersion = 3;
constexpr size_t kAlignment = 32;

// The bytes before the data, piece by piece.
class Header {
 public:
  template <class T>
  void number(T value) {
    text_.append(reinterpret_cast<const char*>(&value), sizeof value);
  }
  void string(std::string_view value) {
    number<uint64_t>(value.size());
    text_ += value;
  }
  void pair(std::string_view key, std::string_view value) {
    string(key);
    number(GgufValueType::string);
    string(value);
  }
  void pair(std::string_view key, float value) {
    string(key);
    number(GgufValueType::f32);
    number(value);
  }
  void raw(std::string_view bytes) { text_ += bytes; }
  void pad() { text_.resize((text_.size() + kAlignment - 1) / kAlignment * kAlignment, '\0'); }
  const std::string& text() const { return text_; }

 private:
  std::string text_;
};

// B with its rows in the interleaved layout of the base's queries and keys.
Tensor interleaved_rows(const Tensor& b, int64_t heads) {
  const std::vector<int64_t> order = split_row_order(b.dim(0), heads);
  Tensor out = Tensor::empty(b.shape());
  const auto rank = static_cast<size_t>(b.dim(1));
  for (size_t i = 0; i < order.size(); ++i)
    std::copy_n(b.data<float>() + i * rank, rank, out.mutable_data<float>() + static_cast<size_t>(order[i]) * rank);
  return out;
}

}  // namespace

void write_gguf_lora(const std::filesystem::path& file, const std::vector<GgufLoraModule>& modules, double alpha,
                     const HfConfig& base) {
  const bool llama = base.model_type == "llama" || base.model_type == "mistral";
  const std::string architecture = llama ? "llama" : base.model_type;
  std::vector<std::pair<std::string, Tensor>> tensors;
  for (const GgufLoraModule& module : modules) {
    const std::string name = gguf_name(architecture, module.name + ".weight");
    require<IoError>(!name.empty(), "{}: module {} has no name in GGUF's {} architecture", file.string(),
                     quote(module.name), architecture);
    const bool query = name.ends_with(".attn_q.weight"), key = name.ends_with(".attn_k.weight");
    const int64_t heads = query ? base.num_attention_heads : base.num_key_value_heads;
    tensors.emplace_back(name + ".lora_a", module.a);
    tensors.emplace_back(name + ".lora_b", llama && (query || key) ? interleaved_rows(module.b, heads) : module.b);
  }
  Header header;
  header.raw("GGUF");
  header.number(kVersion);
  header.number<uint64_t>(tensors.size());
  header.number<uint64_t>(4);
  header.pair("general.architecture", architecture);
  header.pair("general.type", "adapter");
  header.pair("adapter.type", "lora");
  header.pair("adapter.lora.alpha", static_cast<float>(alpha));
  uint64_t offset = 0;
  for (const auto& [name, tensor] : tensors) {
    header.string(name);
    header.number<uint32_t>(2);
    header.number(static_cast<uint64_t>(tensor.dim(1)));
    header.number(static_cast<uint64_t>(tensor.dim(0)));
    header.number(GgmlType::f32);
    header.number(offset);
    offset = (offset + tensor.bytes() + kAlignment - 1) / kAlignment * kAlignment;
  }
  header.pad();
  DurableFile out(file);
  out.write(header.text());
  for (const auto& [name, tensor] : tensors) {
    const auto values = tensor.values<float>();
    out.write(values.data(), values.size_bytes());
    out.write(std::string((kAlignment - values.size_bytes() % kAlignment) % kAlignment, '\0'));
  }
  out.commit();
}

}  // namespace mora
