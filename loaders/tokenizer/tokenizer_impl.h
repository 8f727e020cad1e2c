// What a Tokenizer is made of.
#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "loaders/tokenizer/added_tokens.h"
#include "loaders/tokenizer/decoder.h"
#include "loaders/tokenizer/model.h"
#include "loaders/tokenizer/normalizer.h"
#include "loaders/tokenizer/post_processor.h"
#include "loaders/tokenizer/pre_tokenizer.h"
#include "loaders/tokenizer/tokenizer.h"
#include "loaders/tokenizer/vocabulary.h"

namespace mora {

namespace tokenizer {

// The buffers of one call of encode.
struct Workspace {
  ModelWorkspace model;
  Pieces pieces, scratch;
  std::string segment;
  std::vector<AddedMatch> outer, inner;  // added tokens of the raw text, of one normalised segment
};

// Workspaces that wait for the next call: as many as there were calls at once.
class WorkspacePool {
 public:
  std::unique_ptr<Workspace> take();
  void give_back(std::unique_ptr<Workspace> workspace);

 private:
  std::mutex mutex_;
  std::vector<std::unique_ptr<Workspace>> idle_;
};

struct SpecialTokens {
  std::optional<int32_t> bos, eos, pad, unk;
  std::optional<bool> add_bos, add_eos;
};

}  // namespace tokenizer

struct Tokenizer::Impl {
  std::string source;
  tokenizer::Vocabulary model_vocabulary;  // the model's own tokens
  tokenizer::Vocabulary vocabulary;        // those and the added ones
  tokenizer::AddedTokens added;
  tokenizer::Normalizer normalizer;
  tokenizer::PreTokenizer pre_tokenizer;
  std::unique_ptr<tokenizer::Model> model;
  tokenizer::PostProcessor post_processor;
  tokenizer::Decoder decoder;
  tokenizer::SpecialTokens special;
  mutable tokenizer::WorkspacePool workspaces;

  std::vector<int32_t> encode_text(std::string_view text) const;
  Encoding assemble(const std::vector<tokenizer::PostProcessor::Part>& parts,
                    std::span<const std::vector<int32_t>> texts, bool add_special) const;

 private:
  void encode_segment(std::string_view text, bool at_start, tokenizer::Workspace& workspace,
                      std::vector<int32_t>& ids) const;
  void encode_normalized(std::string_view text, bool at_start, tokenizer::Workspace& workspace,
                         std::vector<int32_t>& ids) const;
};

}  // namespace mora
