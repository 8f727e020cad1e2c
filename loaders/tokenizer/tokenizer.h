// Text ↔ token ids, as the Hugging Face `tokenizers` package makes them from the same tokenizer.json (version 1.0):
//
//   text → added tokens cut out → normalizer → pre-tokenizer (pieces) → model (ids) → post-processor (special tokens)
//
// Models: WordPiece, BPE (of characters, of bytes, with byte fallback), WordLevel. The file's truncation and padding
// are not applied: the caller truncates, and nothing here pads. Everything that is not supported is an IoError naming
// it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace mora {

struct Encoding {
  std::vector<int32_t> ids;       // (T)
  std::vector<int32_t> type_ids;  // (T): 0 for the first text and 1 for the second, where the file says so
};

// A value handle: copies share one immutable tokenizer. Const members may be called from many threads at once.
class Tokenizer {
 public:
  // Reads tokenizer.json in a model directory (or the file itself); tokenizer_config.json and special_tokens_map.json
  // beside it, if they are there, name the special tokens. IoError names file and field.
  static Tokenizer load(const std::filesystem::path& model_directory_or_file);

  // The same from JSON in memory, strings of which are valid UTF-8; `source` opens each error. `config` is like a
  // tokenizer_config.json: {"bos_token": "<s>", "eos_token": …, "add_bos_token": true}.
  static Tokenizer from_json(const nlohmann::json& tokenizer, std::string_view source);
  static Tokenizer from_json(const nlohmann::json& tokenizer, const nlohmann::json& config, std::string_view source);

  // The ids of a text, in time linear in its length. What is not UTF-8 is read as U+FFFD (loaders/utf8.h).
  // `add_special`: with the special tokens of the file's post-processor. IoError if a regular expression of the file
  // backtracks out of all proportion, or the text has 2 GiB or more.
  std::vector<int32_t> encode(std::string_view text, bool add_special = true) const;
  Encoding encode_typed(std::string_view text, bool add_special = true) const;
  Encoding encode_pair(std::string_view first, std::string_view second, bool add_special = true) const;

  // The text of some ids. Ids without a token say nothing, special tokens only if they are not skipped.
  std::string decode(std::span<const int32_t> ids, bool skip_special = true) const;

  int32_t vocab_size() const;  // one more than the largest id; added tokens count
  std::optional<int32_t> token_to_id(std::string_view token) const;
  std::string_view id_to_token(int32_t id) const;  // as it stands in the file; "" if there is none
  bool is_special(int32_t id) const;

  std::optional<int32_t> bos_id() const;
  std::optional<int32_t> eos_id() const;
  std::optional<int32_t> pad_id() const;
  std::optional<int32_t> unk_id() const;
  std::optional<bool> add_bos_token() const;  // of tokenizer_config.json; encode does what the post-processor says
  std::optional<bool> add_eos_token() const;

 private:
  struct Impl;
  explicit Tokenizer(std::shared_ptr<const Impl> impl) : impl_(std::move(impl)) {}
  friend struct TokenizerReader;

  std::shared_ptr<const Impl> impl_;
};

// Decodes ids as they are generated: the pieces it returns, joined, are the text of all of them (but for byte tokens
// that spell no UTF-8, whose U+FFFD may come to differ in number). A piece is valid UTF-8, and empty while a character
// is incomplete.
class DecodeStream {
 public:
  explicit DecodeStream(Tokenizer tokenizer, bool skip_special = true)
      : tokenizer_(std::move(tokenizer)), skip_special_(skip_special) {}

  std::string push(int32_t id);
  std::string finish();  // what was held back; the stream begins anew

 private:
  std::string behind_known(std::string_view text) const;

  Tokenizer tokenizer_;
  bool skip_special_;
  std::vector<int32_t> ids_;  // those of the last piece, for context, and those behind it
  size_t context_ = 0;        // of ids_ that belong to the last piece
  int incomplete_ = 0;        // steps since the text last ended in a whole character
  std::string known_;         // what has been returned of the text of ids_
};

}  // namespace mora
