#include "mora/training/sample_writer.h"

#include "engine/error.h"
#include "mora/generation/generate.h"
#include "mora/generation/text.h"

namespace mora {

SampleWriter::SampleWriter(const Config& config, const Model& model) : tokenizer_(load_tokenizer(config.model)) {
  const SampleConfig& sample = *config.train.sample;
  std::optional<ChatTemplate> chat;
  if (config.data->messages) chat = load_chat_template(config.model);
  for (const std::string& prompt : sample.prompts) {
    const ChatTurn turn = {"user", prompt};
    prompts_.push_back(chat ? chat_prompt_ids(tokenizer_, *chat, {&turn, 1}) : tokenizer_.encode(prompt));
    const std::vector<int32_t>& ids = prompts_.back();
    require<ConfigError>(!ids.empty() && std::ssize(ids) < model.longest_sequence(),
                         "train.sample.prompts: {} tokens, expected 1 to {}", ids.size(), model.longest_sequence() - 1);
  }
  options_.max_tokens = sample.max_tokens;
  options_.stop_tokens = stop_tokens(model, tokenizer_);
}

std::vector<std::string> SampleWriter::write(Model& model) const {
  std::vector<DecodeStream> streams(prompts_.size(), DecodeStream(tokenizer_));
  std::vector<std::string> texts(prompts_.size());
  generate(model, prompts_, options_, [&](size_t prompt, int32_t id) { texts[prompt] += streams[prompt].push(id); });
  model.drop_rows();
  for (size_t i = 0; i < texts.size(); ++i) texts[i] += streams[i].finish();
  return texts;
}

}  // namespace mora
