#include "loaders/causal.h"

#include <algorithm>

#include "engine/error.h"
#include "loaders/chat_template/json_value.h"
#include "loaders/model_text.h"

namespace mora {
namespace {

bool has(const std::vector<std::string>& names, const std::string& name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

std::string trimmed(const std::string& text) {
  const size_t begin = text.find_first_not_of(' ');
  return begin == std::string::npos ? "" : text.substr(begin, text.find_last_not_of(' ') + 1 - begin);
}

// The messages of a row: a list of objects with a role.
jinja::Value read_messages(const Row& row) {
  const Field& field = row.fields[0];
  const bool text = field.kind == Field::Kind::json || field.kind == Field::Kind::string;
  require<IoError>(text && !field.text.empty(), "{}: column '{}': expected a list of messages", row.where, field.name);
  jinja::Value messages = jinja::json_value(field.text, fmt::format("{}: column '{}'", row.where, field.name));
  const jinja::List* list = messages.list();
  if (!list || list->items.empty())
    fail<IoError>("{}: column '{}': expected a list of messages that is not empty", row.where, field.name);
  for (size_t i = 0; i < list->items.size(); ++i) {
    const jinja::Dict* message = list->items[i].dict();
    const jinja::Value* role = message ? message->find("role") : nullptr;
    require<IoError>(role && role->string(),
                     "{}: column '{}': message {} has no role; expected {{\"role\": …, "
                     "\"content\": …}}",
                     row.where, field.name, i);
  }
  return messages;
}

jinja::Value beginning(const jinja::List& messages, size_t count) {
  jinja::List list;
  list.items.assign(messages.items.begin(), messages.items.begin() + static_cast<std::ptrdiff_t>(count));
  return list;
}

bool is_assistant(const jinja::Value& message) { return *message.dict()->find("role")->string() == "assistant"; }

}  // namespace

// A piece of a row's text.
struct CausalEncoder::Piece {
  std::string text;
  bool trained = false;
};

CausalColumns causal_columns(const std::string& option, const std::vector<std::string>& names) {
  if (const size_t plus = option.find('+'); plus != std::string::npos)
    return {CausalKind::completion, {trimmed(option.substr(0, plus)), trimmed(option.substr(plus + 1))}, {}};
  if (option == "messages" || (!has(names, option) && has(names, "messages")))
    return {CausalKind::messages, {"messages"}, {"tools"}};
  if (!has(names, option) && has(names, "prompt") && has(names, "completion"))
    return {CausalKind::completion, {"prompt", "completion"}, {}};
  return {CausalKind::text, {option}, {}};
}

std::vector<std::string> CausalWarnings::lines() const {
  std::vector<std::string> out;
  const auto say = [&](int64_t count, std::string_view what) {
    if (count > 0) out.push_back(fmt::format("{} of {} rows {}", count, rows, what));
  };
  say(doubled_bos, "begin with two beginning-of-text tokens: the text or chat template holds one already");
  say(missing_bos, "begin without the beginning-of-text token that the tokenizer adds to plain text");
  say(untrained_end, "never train an end token: the model may not learn to stop");
  say(untrained_rows, "train no token at all (a longer data.max_length may help)");
  say(truncated, "are cut at data.max_length");
  return out;
}

CausalEncoder::CausalEncoder(CausalColumns columns, Tokenizer tokenizer, std::optional<ChatTemplate> chat_template,
                             CausalOptions options)
    : columns_(std::move(columns)),
      tokenizer_(std::move(tokenizer)),
      template_(std::move(chat_template)),
      options_(options) {
  require<ConfigError>(options_.max_length > 1, "data.max_length: {}, expected at least 2", options_.max_length);
  require<ConfigError>(columns_.kind != CausalKind::messages || template_,
                       "data.text: messages need a chat template, and the model has none (chat_template.jinja)");
  const std::vector<int32_t> probe = tokenizer_.encode("a");
  adds_bos_ = tokenizer_.bos_id() && !probe.empty() && probe[0] == *tokenizer_.bos_id();
}

std::vector<CausalEncoder::Piece> CausalEncoder::chat_pieces(const Row& row) const {
  const jinja::Value messages = read_messages(row);
  const jinja::List& list = *messages.list();
  ChatVariables variables = special_tokens(tokenizer_);
  if (row.fields.size() > 1 && row.fields[1].kind == Field::Kind::json)
    variables.insert_or_assign("tools", jinja::json_value(row.fields[1].text, row.where));

  // The text of turn i is what rendering messages 0 … i adds to what went before; for the assistant's turns, the header
  // that add_generation_prompt writes is not its own words.
  const auto render = [&](size_t count, bool prompt) {
    variables.insert_or_assign("add_generation_prompt", prompt);
    try {
      return template_->render(beginning(list, count), variables);
    } catch (const TemplateError& error) {
      fail<TemplateError>("{}: {}", row.where, error.what());
    }
  };
  const std::string whole = render(list.items.size(), false);
  std::vector<Piece> pieces;
  size_t done = 0;
  const auto cut = [&](size_t end, bool trained) {
    if (end > done) pieces.push_back({whole.substr(done, end - done), trained});
    done = std::max(done, end);
  };
  for (size_t i = 0; i < list.items.size(); ++i) {
    if (!is_assistant(list.items[i])) continue;
    std::string before = i > 0 ? render(i, true) : "";
    if (!whole.starts_with(before) && i > 0) before = render(i, false);
    const std::string after = render(i + 1, false);
    require<IoError>(
        whole.starts_with(before) && whole.starts_with(after) && after.size() >= before.size(),
        "{}: message {}: the chat template writes earlier turns differently once later ones follow, so the "
        "assistant's turns cannot be told apart",
        row.where, i);
    cut(before.size(), false);
    cut(after.size(), true);
  }
  cut(whole.size(), false);
  return pieces;
}

std::vector<CausalEncoder::Piece> CausalEncoder::pieces_of(const Row& row) const {
  switch (columns_.kind) {
    case CausalKind::text: return {{text_of(row, 0), true}};
    case CausalKind::completion: return {{text_or_empty(row, 0), false}, {text_of(row, 1), true}};
    case CausalKind::messages: return chat_pieces(row);
  }
  return {};
}

// The text is tokenized as a whole, as it is when the model is used; a piece ends where the tokens of the text up to
// its end stop being those of the whole, so a token across the border belongs to the piece behind it.
Example CausalEncoder::encode(const Row& row, CausalWarnings& warnings) const {
  const bool plain = columns_.kind != CausalKind::messages;
  const std::vector<Piece> pieces = pieces_of(row);
  std::string text;
  for (const Piece& piece : pieces) text += piece.text;
  Example example;
  const std::vector<int32_t> ids = tokenizer_.encode(text, false);
  if (plain && adds_bos_) {
    example.ids.push_back(*tokenizer_.bos_id());
    example.token_labels.push_back(kIgnoredLabel);
  }
  example.ids.insert(example.ids.end(), ids.begin(), ids.end());
  size_t done = 0, end = 0;
  for (const Piece& piece : pieces) {
    end += piece.text.size();
    size_t tokens = ids.size();
    if (end < text.size()) {
      const std::vector<int32_t> before = tokenizer_.encode(std::string_view(text).substr(0, end), false);
      tokens =
          static_cast<size_t>(std::mismatch(before.begin(), before.end(), ids.begin(), ids.end()).second - ids.begin());
    }
    for (; done < tokens; ++done) example.token_labels.push_back(piece.trained ? ids[done] : kIgnoredLabel);
  }
  if (plain && options_.append_eos && tokenizer_.eos_id()) {
    example.ids.push_back(*tokenizer_.eos_id());
    example.token_labels.push_back(*tokenizer_.eos_id());
  }
  require<IoError>(!example.ids.empty(), "{}: the row has no tokens", row.where);
  inspect(example, plain, warnings);
  const auto kept = std::min(example.ids.size(), static_cast<size_t>(options_.max_length));
  warnings.truncated += kept < example.ids.size();
  example.ids.resize(kept);
  example.token_labels.resize(kept);
  example.token_labels[0] = kIgnoredLabel;
  warnings.untrained_rows += std::all_of(example.token_labels.begin(), example.token_labels.end(),
                                         [](int32_t label) { return label == kIgnoredLabel; });
  return example;
}

// Looks at a row before it is cut.
void CausalEncoder::inspect(const Example& example, bool plain, CausalWarnings& warnings) const {
  ++warnings.rows;
  if (const auto bos = tokenizer_.bos_id(); bos && adds_bos_) {
    warnings.doubled_bos += example.ids.size() > 1 && example.ids[0] == *bos && example.ids[1] == *bos;
    warnings.missing_bos += example.ids[0] != *bos;
  }
  // A turn may end in a newline behind its end token.
  const auto& labels = example.token_labels;
  bool end_trained = false;
  size_t looked = 0;
  for (auto label = labels.rbegin(); label != labels.rend() && looked < 3; ++label) {
    if (*label == kIgnoredLabel) continue;
    ++looked;
    end_trained |= tokenizer_.is_special(*label) || (tokenizer_.eos_id() && *label == *tokenizer_.eos_id());
  }
  warnings.untrained_end += !end_trained && (!plain || options_.append_eos);
}

void CausalEncoder::require_trained(const CausalWarnings& warnings) {
  require<ConfigError>(
      warnings.rows == 0 || warnings.untrained_rows < warnings.rows,
      "data: none of the {} rows trains a token: the prompts fill data.max_length, or no message is the "
      "assistant's",
      warnings.rows);
}

}  // namespace mora
