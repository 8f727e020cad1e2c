// Rows of language-model data as trained tokens.
//
//   plain text      every token is trained, and the end token if append_eos
//   prompt + completion   the completion's tokens (and the end token) are trained, the prompt's are not
//   messages        the assistant's turns with their end-of-turn token are trained; which text is whose turn is found
//   by
//                   rendering the chat up to and including each message
//
// token_labels[t] = ids[t] where token t is trained, else kIgnoredLabel; the first token of a row has nothing before it
// and is never trained. A row longer than max_length keeps its first max_length tokens.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "loaders/batch.h"
#include "loaders/chat_template/chat_template.h"
#include "loaders/dataset.h"
#include "loaders/tokenizer/tokenizer.h"

namespace mora {

enum class CausalKind { text, completion, messages };

// Which columns hold what.
struct CausalColumns {
  CausalKind kind = CausalKind::text;
  std::vector<std::string> columns;   // for DataOptions::columns: the text; prompt and completion; the messages
  std::vector<std::string> optional;  // for DataOptions::optional: messages may come with `tools`
};

// From data.text ("text", "prompt + completion", "messages" or a column of another name) and the columns of the data: a
// column of that name, else `messages`, else `prompt` and `completion`. ConfigError where nothing fits.
CausalColumns causal_columns(const std::string& text_option, const std::vector<std::string>& names);

struct CausalOptions {
  int64_t max_length = 1024;
  bool append_eos = true;
};

// What looks wrong but can be trained, counted over the rows that were encoded.
struct CausalWarnings {
  int64_t rows = 0;
  int64_t doubled_bos = 0;     // rows that begin with two beginning-of-text tokens
  int64_t missing_bos = 0;     // rows without one, where the tokenizer adds one to plain text
  int64_t untrained_end = 0;   // rows whose last trained token is no end token: the model may not learn to stop
  int64_t truncated = 0;       // rows longer than max_length
  int64_t untrained_rows = 0;  // rows of which no token is trained

  std::vector<std::string> lines() const;  // one a kind that happened
};

class CausalEncoder {
 public:
  // `chat_template` is needed for messages: ConfigError without one.
  CausalEncoder(CausalColumns columns, Tokenizer tokenizer, std::optional<ChatTemplate> chat_template,
                CausalOptions options);

  // Counts what looks wrong in `warnings`. IoError: a row that is not text or messages; TemplateError, with the row in
  // front: one that the template refuses.
  Example encode(const Row& row, CausalWarnings& warnings) const;

  // After the rows have been encoded. ConfigError if no token of any of them is trained.
  static void require_trained(const CausalWarnings& warnings);

 private:
  struct Piece;
  std::vector<Piece> pieces_of(const Row& row) const;
  std::vector<Piece> chat_pieces(const Row& row) const;
  void inspect(const Example& example, bool plain, CausalWarnings& warnings) const;

  CausalColumns columns_;
  Tokenizer tokenizer_;
  std::optional<ChatTemplate> template_;
  CausalOptions options_;
  bool adds_bos_;  // whether the tokenizer puts a beginning-of-text token in front of plain text
};

}  // namespace mora
