#include "mora/merged_files.h"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "loaders/durable_file.h"
#include "loaders/gguf_model.h"
#include "loaders/json.h"
#include "loaders/regular_file.h"
#include "mora/model_head.h"

namespace mora {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

// Weights in any framework's form, and their indices: they would go on holding the old model.
bool holds_weights(const fs::path& file) {
  constexpr std::array extensions{".safetensors", ".bin",  ".pt",   ".pth",       ".ckpt", ".h5",    ".msgpack",
                                  ".ot",          ".onnx", ".gguf", ".onnx_data", ".npz",  ".tflite"};
  const std::string name = file.filename().string();
  return std::ranges::find(extensions, file.extension().string()) != extensions.end() ||
         name.ends_with(".safetensors.index.json") || name.ends_with(".bin.index.json");
}

void copy_text_files(const fs::path& model, const fs::path& out) {
  for (auto entry = fs::recursive_directory_iterator(model); entry != fs::recursive_directory_iterator(); ++entry) {
    if (entry->is_directory()) {
      if (entry->path().filename().string().starts_with(".")) entry.disable_recursion_pending();  // .git, .cache
      continue;
    }
    if (!entry->is_regular_file() || holds_weights(entry->path())) continue;  // links are followed: a cache lays them
    const fs::path target = out / entry->path().lexically_relative(model);
    fs::create_directories(target.parent_path());
    fs::copy_file(fs::canonical(entry->path()), target);
  }
}

void write_json(const fs::path& file, const nlohmann::json& value) { write_durable(file, value.dump(2) + "\n"); }

void write_gguf_text(const fs::path& model, DType dtype, const fs::path& out) {
  const GgufFile file = GgufFile::open(model);
  nlohmann::json config = gguf_config_json(file), generation = nlohmann::json::object();
  config.erase("dtype");
  config["torch_dtype"] = dtype == DType::bf16 ? "bfloat16" : "float32";  // what all versions of transformers read
  for (const char* key : {"bos_token_id", "eos_token_id", "pad_token_id"})
    if (config.contains(key)) generation[key] = config[key];
  nlohmann::json tokenizer = gguf_tokenizer_config(file);
  tokenizer["tokenizer_class"] = "PreTrainedTokenizerFast";
  tokenizer["clean_up_tokenization_spaces"] = false;
  write_json(out / "config.json", config);
  write_json(out / "generation_config.json", generation);
  write_json(out / "tokenizer.json", gguf_tokenizer_json(file));
  write_json(out / "tokenizer_config.json", tokenizer);
  if (const std::string chat = gguf_chat_template(file); !chat.empty())
    write_durable(out / "chat_template.jinja", chat);
}

}  // namespace

void write_text_files(const fs::path& model, const fs::path& adapter, DType gguf_dtype, const fs::path& out) {
  try {
    if (model.extension() == ".gguf")
      write_gguf_text(model, gguf_dtype, out);
    else
      copy_text_files(model, out);
    const fs::path chat = adapter / "chat_template.jinja";
    if (!adapter.empty() && fs::exists(chat))
      fs::copy_file(chat, out / "chat_template.jinja", fs::copy_options::overwrite_existing);
  } catch (const fs::filesystem_error& error) {
    fail<IoError>("{}: cannot copy to {}: {}", error.path1().string(), out.string(), error.code().message());
  }
}

std::string classification_class(std::string_view model_type) {
  if (head_module(model_type).empty()) return "";
  return fmt::format("{}ForSequenceClassification", model_type == "bert"      ? "Bert"
                                                    : model_type == "roberta" ? "Roberta"
                                                                              : "DistilBert");
}

void describe_head(const fs::path& out, const HfConfig& hf, const AdapterInfo& info, Pooling pooling, int64_t outputs) {
  const bool regression = outputs == 1;
  std::vector<std::string> labels = info.labels;
  for (auto i = int64_t(labels.size()); i < outputs; ++i) labels.push_back(fmt::format("LABEL_{}", i));
  Json config = Json::parse(hf.json_text);
  config["architectures"] = {classification_class(hf.model_type)};
  config["id2label"] = config["label2id"] = Json::object();
  for (size_t i = 0; i < labels.size(); ++i) {
    config["id2label"][std::to_string(i)] = labels[i];
    config["label2id"][labels[i]] = i;
  }
  config["num_labels"] = outputs;
  config["problem_type"] = regression ? "regression" : "single_label_classification";
  config[kPoolingKey] = name_of(pooling);
  write_durable(out / "config.json", config.dump(2) + "\n");
}

void untie_head(const fs::path& out) {
  const fs::path file = out / "config.json";
  Json config = Json::parse(read_regular_file(file, size_t{256} << 20));
  config["tie_word_embeddings"] = false;
  write_durable(file, config.dump(2) + "\n");
}

}  // namespace mora
