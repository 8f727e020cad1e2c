#include "loaders/tokenizer/tokenizer.h"

#include <array>
#include <limits>

#include "engine/error.h"
#include "loaders/tokenizer/tokenizer_impl.h"
#include "loaders/utf8.h"

namespace mora {

using tokenizer::AddedMatch;
using tokenizer::PostProcessor;
using tokenizer::Span;
using tokenizer::Workspace;

std::unique_ptr<Workspace> tokenizer::WorkspacePool::take() {
  const std::lock_guard lock(mutex_);
  if (idle_.empty()) return std::make_unique<Workspace>();
  auto workspace = std::move(idle_.back());
  idle_.pop_back();
  return workspace;
}

void tokenizer::WorkspacePool::give_back(std::unique_ptr<Workspace> workspace) {
  const std::lock_guard lock(mutex_);
  idle_.push_back(std::move(workspace));
}

std::vector<int32_t> Tokenizer::Impl::encode_text(std::string_view text) const {
  require<IoError>(text.size() <= std::numeric_limits<int32_t>::max(),
                   "{}: a text of {} bytes; the longest that can be encoded has 2 GiB", source, text.size());
  std::string repaired;
  if (valid_utf8_prefix(text) != text.size()) {
    repaired = replace_invalid_utf8(text);
    text = repaired;
  }
  auto workspace = workspaces.take();
  std::vector<int32_t> ids;
  if (added.empty(false)) {
    encode_segment(text, true, *workspace, ids);
  } else {
    workspace->outer.clear();
    added.divide(text, false, workspace->outer);
    for (const AddedMatch& match : workspace->outer) {
      if (match.id >= 0) {
        ids.push_back(match.id);
      } else {
        encode_segment(text.substr(match.begin, match.end - match.begin), match.begin == 0, *workspace, ids);
      }
    }
  }
  workspaces.give_back(std::move(workspace));
  return ids;
}

void Tokenizer::Impl::encode_segment(std::string_view text, bool at_start, Workspace& workspace,
                                     std::vector<int32_t>& ids) const {
  workspace.segment.assign(text);
  normalizer.apply(workspace.segment, workspace.scratch.text);
  const std::string_view segment = workspace.segment;
  if (added.empty(true)) return encode_normalized(segment, at_start, workspace, ids);
  workspace.inner.clear();
  added.divide(segment, true, workspace.inner);
  for (const AddedMatch& match : workspace.inner) {
    if (match.id >= 0) {
      ids.push_back(match.id);
    } else {
      encode_normalized(segment.substr(match.begin, match.end - match.begin), at_start && match.begin == 0, workspace,
                        ids);
    }
  }
}

void Tokenizer::Impl::encode_normalized(std::string_view text, bool at_start, Workspace& workspace,
                                        std::vector<int32_t>& ids) const {
  if (text.empty()) return;
  require<IoError>(text.size() <= std::numeric_limits<uint32_t>::max() / 2,
                   "{}: a normalised text of {} bytes; the longest that can be encoded has 2 GiB", source, text.size());
  workspace.pieces.text.assign(text);
  workspace.pieces.spans = {Span{0, static_cast<uint32_t>(text.size())}};
  workspace.pieces.at_start = at_start;
  pre_tokenizer.apply(workspace.pieces, workspace.scratch);
  for (const Span& span : workspace.pieces.spans) model->tokenize(workspace.pieces.piece(span), workspace.model, ids);
}

Encoding Tokenizer::Impl::assemble(const std::vector<PostProcessor::Part>& parts,
                                   std::span<const std::vector<int32_t>> texts, bool add_special) const {
  Encoding out;
  for (const PostProcessor::Part& part : parts) {
    if (part.text < 0 && !add_special) continue;
    const std::vector<int32_t>& ids = part.text < 0 ? part.ids : texts[static_cast<size_t>(part.text)];
    out.ids.insert(out.ids.end(), ids.begin(), ids.end());
    out.type_ids.insert(out.type_ids.end(), ids.size(), part.type_id);
  }
  return out;
}

std::vector<int32_t> Tokenizer::encode(std::string_view text, bool add_special) const {
  return encode_typed(text, add_special).ids;
}

Encoding Tokenizer::encode_typed(std::string_view text, bool add_special) const {
  const std::array texts = {impl_->encode_text(text)};
  return impl_->assemble(impl_->post_processor.single(), texts, add_special);
}

Encoding Tokenizer::encode_pair(std::string_view first, std::string_view second, bool add_special) const {
  const std::array texts = {impl_->encode_text(first), impl_->encode_text(second)};
  return impl_->assemble(impl_->post_processor.pair(), texts, add_special);
}

std::string Tokenizer::decode(std::span<const int32_t> ids, bool skip_special) const {
  std::vector<std::string> tokens;
  tokens.reserve(ids.size());
  for (const int32_t id : ids) {
    std::string_view token = impl_->added.decoded(id);
    if (token.empty()) token = impl_->vocabulary.token(id);
    if (token.empty() || (skip_special && impl_->added.is_special_text(token))) continue;
    tokens.emplace_back(token);
  }
  return impl_->decoder.decode(std::move(tokens));
}

int32_t Tokenizer::vocab_size() const { return impl_->vocabulary.size(); }

std::optional<int32_t> Tokenizer::token_to_id(std::string_view token) const {
  const int32_t id = impl_->vocabulary.find(token);
  return id < 0 ? std::nullopt : std::optional(id);
}

std::string_view Tokenizer::id_to_token(int32_t id) const { return impl_->vocabulary.token(id); }
bool Tokenizer::is_special(int32_t id) const { return impl_->added.is_special(id); }
std::optional<int32_t> Tokenizer::bos_id() const { return impl_->special.bos; }
std::optional<int32_t> Tokenizer::eos_id() const { return impl_->special.eos; }
std::optional<int32_t> Tokenizer::pad_id() const { return impl_->special.pad; }
std::optional<int32_t> Tokenizer::unk_id() const { return impl_->special.unk; }
std::optional<bool> Tokenizer::add_bos_token() const { return impl_->special.add_bos; }
std::optional<bool> Tokenizer::add_eos_token() const { return impl_->special.add_eos; }

}  // namespace mora
