// The files of a merged model beside its weights.
#pragma once

#include <filesystem>

#include "loaders/hf_config.h"
#include "mora/adapter_directory.h"

namespace mora {

// Copies what holds no weights of a Hugging Face directory, with its sub-directories, into `out`; of a .gguf file
// writes config.json, generation_config.json, tokenizer.json, tokenizer_config.json and chat_template.jinja. A chat
// template that the adapter was trained with wins.
void write_text_files(const std::filesystem::path& model, const std::filesystem::path& adapter, DType gguf_dtype,
                      const std::filesystem::path& out);

// Tells config.json of the head: architectures, id2label, label2id, num_labels, problem_type, and `mora_pooling`
// (mora/model_head.h).
void describe_head(const std::filesystem::path& out, const HfConfig& config, const AdapterInfo& info, Pooling pooling,
                   int64_t outputs);

// Tells config.json that the language-model head has a weight of its own.
void untie_head(const std::filesystem::path& out);

// "BertForSequenceClassification"; empty where head_module is.
std::string classification_class(std::string_view model_type);

}  // namespace mora
