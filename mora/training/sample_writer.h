// What a language model writes while it is trained (train.sample): a few prompts continued, greedily, so that texts
// from step to step differ by the training alone.
#pragma once

#include <string>
#include <vector>

#include "loaders/tokenizer/tokenizer.h"
#include "mora/generation/decode_batch.h"
#include "mora/training/config.h"

namespace mora {

class SampleWriter {
 public:
  // Of a configuration with train.sample. Where the rows are chats, a prompt is what a user says. Throws ConfigError
  // for a prompt that the model cannot read.
  SampleWriter(const Config& config, const Model& model);

  // A continuation of each prompt. Changes nothing that training reads; what decoding keeps of the weights is freed.
  std::vector<std::string> write(Model& model) const;

 private:
  Tokenizer tokenizer_;
  std::vector<std::vector<int32_t>> prompts_;
  GenerationOptions options_;
};

}  // namespace mora
