// Byte-pair encoding: a piece begins as its characters (or bytes); the adjacent pair of the lowest rank, leftmost
// first, is merged until none has a rank. Sennrich, Haddow & Birch 2016, "Neural Machine Translation of Rare Words with
// Subword Units"; with the unknown token, byte fallback and suffixes as in the Hugging Face `tokenizers` package.
#include <algorithm>
#include <array>
#include <optional>
#include <span>

#include "loaders/quote.h"
#include "loaders/tokenizer/bpe_merges.h"
#include "loaders/tokenizer/byte_alphabet.h"
#include "loaders/tokenizer/codepoint.h"
#include "loaders/tokenizer/model.h"

namespace mora::tokenizer {
namespace {

using Symbol = ModelWorkspace::Symbol;

class Bpe : public Model {
 public:
  Bpe(const JsonField& field, const Vocabulary& vocabulary, bool reads_bytes)
      : prefix_(field.text_or("continuing_subword_prefix", "")),
        suffix_(field.text_or("end_of_word_suffix", "")),
        reads_bytes_(reads_bytes),
        fuses_unknown_(field.boolean_or("fuse_unk", false)),
        whole_words_first_(field.boolean_or("ignore_merges", false)),
        unknown_(read_unknown(field, vocabulary)),
        merges_(field["merges"], vocabulary, prefix_.size(), unknown_.value_or(-1)) {
    for (int32_t id = 0; id < vocabulary.size(); ++id) {
      if (!vocabulary.has(id)) continue;
      if (!reads_bytes_) {
        words_.add(vocabulary.token(id), id);
      } else if (const auto bytes = bytes_of_characters(vocabulary.token(id))) {
        words_.add(*bytes, id);
      }
    }
    for (size_t byte = 0; byte < single_.size(); ++byte) {
      const char c = static_cast<char>(byte);
      single_[byte] = words_.find({&c, 1});
    }
    if (field.boolean_or("byte_fallback", false)) read_byte_tokens(vocabulary);
    // Pieces fall apart where no merge can reach, if each symbol depends on its own character alone.
    splits_ =
        prefix_.empty() && suffix_.empty() && merges_.has_junctions() && !(byte_tokens_ && unknown_ && lacks_bytes_);
  }

  void tokenize(std::string_view piece, ModelWorkspace& workspace, std::vector<int32_t>& ids) const override {
    if (const auto cached = workspace.cache.find(piece)) {
      ids.insert(ids.end(), cached->begin(), cached->end());
      return;
    }
    const size_t first = ids.size();
    if (const int32_t id = whole_words_first_ ? words_.find(piece) : -1; id >= 0) {
      ids.push_back(id);
    } else {
      begin_symbols(piece, workspace);
      if (splits_ && piece.size() > kLongPiece) return merge_stretches(piece, workspace, ids);
      merges_.run(workspace.symbols, workspace.queue, ids);
    }
    workspace.cache.insert(piece, std::span(ids).subspan(first));
  }

 private:
  static constexpr size_t kLongPiece = 32;  // bytes

  static std::optional<int32_t> read_unknown(const JsonField& field, const Vocabulary& vocabulary) {
    const auto token = field.find("unk_token");
    if (!token || token->text().empty()) return std::nullopt;
    const int32_t id = vocabulary.find(token->text());
    if (id < 0) throw token->error("{} is not in the vocabulary", quote(token->text()));
    return id;
  }

  void read_byte_tokens(const Vocabulary& vocabulary) {
    byte_tokens_.emplace();
    for (size_t byte = 0; byte < byte_tokens_->size(); ++byte) {
      (*byte_tokens_)[byte] = vocabulary.find(fmt::format("<0x{:02X}>", byte));
      lacks_bytes_ = lacks_bytes_ || (*byte_tokens_)[byte] < 0;
    }
  }

  // The symbol of the character [begin, end) of `piece`, or −1.
  int32_t symbol(std::string_view piece, size_t begin, size_t end, std::string& buffer) const {
    if (prefix_.empty() && suffix_.empty()) {
      if (end - begin == 1) return single_[static_cast<uint8_t>(piece[begin])];
      return words_.find(piece.substr(begin, end - begin));
    }
    buffer.assign(begin > 0 ? prefix_ : std::string());
    buffer += piece.substr(begin, end - begin);
    if (end == piece.size()) buffer += suffix_;
    return words_.find(buffer);
  }

  // The symbols that `piece` begins as. A character without one becomes its bytes, else the unknown token, else
  // nothing. An unknown token waits for the next character of the vocabulary, so that others can fuse with it.
  void begin_symbols(std::string_view piece, ModelWorkspace& workspace) const {
    auto& symbols = workspace.symbols;
    symbols.clear();
    int64_t waiting = -1;  // where an unknown token began
    const auto push_waiting = [&] {
      if (waiting >= 0) symbols.push_back({*unknown_, static_cast<uint32_t>(waiting)});
      waiting = -1;
    };
    for (size_t at = 0; at < piece.size();) {
      const size_t end = reads_bytes_ ? at + 1 : at + utf8_length(piece[at]);
      if (const int32_t id = symbol(piece, at, end, workspace.text); id >= 0) {
        push_waiting();
        symbols.push_back({id, static_cast<uint32_t>(at)});
      } else if (!push_bytes(piece, at, end, workspace) && unknown_) {
        if (!fuses_unknown_) push_waiting();
        if (waiting < 0) waiting = static_cast<int64_t>(at);
      }
      at = end;
    }
    push_waiting();
  }

  bool push_bytes(std::string_view piece, size_t begin, size_t end, ModelWorkspace& workspace) const {
    if (!byte_tokens_) return false;
    std::string& bytes = workspace.text;  // as symbol() made it: the fallback spells prefix and suffix too
    if (prefix_.empty() && suffix_.empty()) bytes.assign(piece.substr(begin, end - begin));
    const auto token = [&](char byte) { return (*byte_tokens_)[static_cast<uint8_t>(byte)]; };
    if (std::any_of(bytes.begin(), bytes.end(), [&](char byte) { return token(byte) < 0; })) return false;
    for (const char byte : bytes) workspace.symbols.push_back({token(byte), static_cast<uint32_t>(begin)});
    return true;
  }

  // Cuts a long piece where no merge reaches over, and merges each stretch by itself: the same ids, but in time linear
  // in the number of stretches, and with the cache.
  void merge_stretches(std::string_view piece, ModelWorkspace& workspace, std::vector<int32_t>& ids) const {
    const std::span<const Symbol> symbols = workspace.symbols;
    for (size_t begin = 0; begin < symbols.size();) {
      size_t end = begin + 1;
      while (end < symbols.size() && merges_.may_cross(symbols[end - 1].id, symbols[end].id)) ++end;
      const size_t text_end = end < symbols.size() ? symbols[end].begin : piece.size();
      const std::string_view stretch = piece.substr(symbols[begin].begin, text_end - symbols[begin].begin);
      merge_stretch(stretch, symbols.subspan(begin, end - begin), workspace, ids);
      begin = end;
    }
  }

  void merge_stretch(std::string_view text, std::span<const Symbol> symbols, ModelWorkspace& workspace,
                     std::vector<int32_t>& ids) const {
    if (symbols.size() == 1) {
      ids.push_back(symbols[0].id);
      return;
    }
    const bool cached = !whole_words_first_;  // else the cache could confuse a stretch with a word of the vocabulary
    if (const auto found = cached ? workspace.cache.find(text) : std::nullopt) {
      ids.insert(ids.end(), found->begin(), found->end());
      return;
    }
    const size_t first = ids.size();
    workspace.stretch.assign(symbols.begin(), symbols.end());
    merges_.run(workspace.stretch, workspace.queue, ids);
    if (cached) workspace.cache.insert(text, std::span(ids).subspan(first));
  }

  std::string prefix_, suffix_;  // of all symbols of a piece but the first; of the last
  bool reads_bytes_, fuses_unknown_, whole_words_first_;
  std::optional<int32_t> unknown_;
  BpeMerges merges_;
  Vocabulary words_;                 // tokens by the text they stand for
  std::array<int32_t, 256> single_;  // ids of single bytes
  std::optional<std::array<int32_t, 256>> byte_tokens_;
  bool lacks_bytes_ = false;  // some byte has no token
  bool splits_ = false;
};

}  // namespace

bool bpe_can_read_bytes(const JsonField& field) {
  return field.text_or("continuing_subword_prefix", "").empty() && field.text_or("end_of_word_suffix", "").empty() &&
         !field.boolean_or("byte_fallback", false);
}

std::unique_ptr<Model> read_bpe(const JsonField& field, const Vocabulary& vocabulary, bool reads_bytes) {
  if (const auto dropout = field.find("dropout"); dropout && dropout->json() != 0) {
    throw dropout->error("BPE dropout is not supported; set it to null");
  }
  return std::make_unique<Bpe>(field, vocabulary, reads_bytes);
}

}  // namespace mora::tokenizer
