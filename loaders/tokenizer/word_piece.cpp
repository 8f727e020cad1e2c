// WordPiece: from the left, the longest token that matches, all but the first of a word behind a prefix such as "##".
// Schuster & Nakajima 2012; Devlin et al. 2019, tokenization.py, WordpieceTokenizer.
#include "loaders/quote.h"
#include "loaders/tokenizer/codepoint.h"
#include "loaders/tokenizer/model.h"
#include "loaders/tokenizer/trie.h"

namespace mora::tokenizer {
namespace {

int32_t read_unknown(const JsonField& field, const Vocabulary& vocabulary) {
  const JsonField token = field["unk_token"];
  const int32_t id = vocabulary.find(token.text());
  if (id < 0) throw token.error("{} is not in the vocabulary", quote(token.text()));
  return id;
}

class WordPiece : public Model {
 public:
  WordPiece(const JsonField& field, const Vocabulary& vocabulary)
      : unknown_(read_unknown(field, vocabulary)),
        longest_word_(field.find("max_input_chars_per_word") ? field["max_input_chars_per_word"].count() : 100) {
    const std::string prefix = field.text_or("continuing_subword_prefix", "##");
    for (int32_t id = 0; id < vocabulary.size(); ++id) {
      if (!vocabulary.has(id)) continue;
      const std::string_view token = vocabulary.token(id);
      initial_.add(token, id);
      if (token.starts_with(prefix) && token.size() > prefix.size()) {
        continuing_.add(token.substr(prefix.size()), id);
      }
    }
  }

  void tokenize(std::string_view piece, ModelWorkspace& workspace, std::vector<int32_t>& ids) const override {
    if (const auto cached = workspace.cache.find(piece)) {
      ids.insert(ids.end(), cached->begin(), cached->end());
      return;
    }
    const size_t first = ids.size();
    if (!split(piece, ids)) {
      ids.resize(first);
      ids.push_back(unknown_);
    }
    workspace.cache.insert(piece, std::span(ids).subspan(first));
  }

 private:
  // False if the word is too long or a part of it matches no token.
  bool split(std::string_view piece, std::vector<int32_t>& ids) const {
    if (is_longer(piece, longest_word_)) return false;
    for (size_t at = 0; at < piece.size();) {
      const Trie::Match match = (at == 0 ? initial_ : continuing_).longest_prefix(piece.substr(at));
      if (match.value < 0) return false;
      ids.push_back(match.value);
      at += match.bytes;
    }
    return true;
  }

  static bool is_longer(std::string_view piece, size_t characters) {
    if (piece.size() <= characters) return false;
    size_t count = 0;
    for (size_t at = 0; at < piece.size(); at += utf8_length(piece[at])) ++count;
    return count > characters;
  }

  int32_t unknown_;
  size_t longest_word_;  // in characters; a longer one is unknown
  Trie initial_;         // tokens, for the begin of a word
  Trie continuing_;      // tokens that have the prefix, without it
};

class WordLevel : public Model {
 public:
  WordLevel(const JsonField& field, const Vocabulary& vocabulary)
      : vocabulary_(vocabulary), unknown_(read_unknown(field, vocabulary)) {}

  void tokenize(std::string_view piece, ModelWorkspace&, std::vector<int32_t>& ids) const override {
    const int32_t id = vocabulary_.find(piece);
    ids.push_back(id >= 0 ? id : unknown_);
  }

 private:
  const Vocabulary& vocabulary_;
  int32_t unknown_;
};

}  // namespace

std::unique_ptr<Model> read_word_piece(const JsonField& field, const Vocabulary& vocabulary) {
  return std::make_unique<WordPiece>(field, vocabulary);
}

std::unique_ptr<Model> read_word_level(const JsonField& field, const Vocabulary& vocabulary) {
  return std::make_unique<WordLevel>(field, vocabulary);
}

}  // namespace mora::tokenizer
