#include "loaders/tokenizer/post_processor.h"

#include <algorithm>

#include "loaders/quote.h"

namespace mora::tokenizer {
namespace {

using Part = PostProcessor::Part;
using Template = std::vector<Part>;

Part text_part(int text, int32_t type_id) { return {text, {}, type_id}; }
Part token_part(int32_t id, int32_t type_id) { return {-1, {id}, type_id}; }

// ["[SEP]", 102] of BertProcessing and RobertaProcessing.
int32_t read_named_id(const JsonField& field) {
  if (field.items() != 2) throw field.error("expected [token, id]");
  return field.item(1).id();
}

std::vector<int32_t> read_special(const JsonField& special_tokens, const JsonField& name) {
  const auto token = special_tokens.find(name.text().c_str());
  if (!token) throw name.error("{} is not among the special_tokens", quote(name.text()));
  const JsonField list = (*token)["ids"];
  std::vector<int32_t> ids;
  for (size_t i = 0; i < list.items(); ++i) ids.push_back(list.item(i).id());
  return ids;
}

Part read_part(const JsonField& field, const JsonField& special_tokens) {
  if (const auto special = field.find("SpecialToken")) {
    return {-1, read_special(special_tokens, (*special)["id"]), (*special)["type_id"].id()};
  }
  const auto sequence = field.find("Sequence");
  if (!sequence) throw field.error("expected a SpecialToken or a Sequence");
  const JsonField id = (*sequence)["id"];
  if (id.text() != "A" && id.text() != "B")
    throw id.error("unknown sequence {}; A and B are supported", quote(id.text()));
  return text_part(id.text() == "B", (*sequence)["type_id"].id());
}

Template read_template(const JsonField& list, const JsonField& special_tokens, int texts) {
  Template parts;
  for (size_t i = 0; i < list.items(); ++i) parts.push_back(read_part(list.item(i), special_tokens));
  for (int text = 0; text < 2; ++text) {
    const auto uses = std::count_if(parts.begin(), parts.end(), [&](const Part& part) { return part.text == text; });
    if (uses != (text < texts)) throw list.error("sequence {} stands in it {} times", text == 0 ? "A" : "B", uses);
  }
  return parts;
}

}  // namespace

PostProcessor::PostProcessor() : single_{text_part(0, 0)}, pair_{text_part(0, 0), text_part(1, 1)} {}

PostProcessor::PostProcessor(const std::optional<JsonField>& field, const std::function<bool(int32_t)>& is_token)
    : PostProcessor() {
  if (!field) return;
  read(*field);
  for (const Template* parts : {&single_, &pair_}) {
    for (const Part& part : *parts) {
      for (const int32_t id : part.ids) {
        if (!is_token(id)) throw field->error("no token has id {}", id);
      }
    }
  }
}

void PostProcessor::read(const JsonField& field) {
  const std::string type = field["type"].text();
  if (type == "ByteLevel") return;
  if (type == "Sequence") {
    const JsonField list = field["processors"];
    for (size_t i = 0; i < list.items(); ++i) read(list.item(i));
    return;
  }
  if (has_template_) throw field.error("a second processor that adds tokens is not supported");
  has_template_ = true;
  if (type == "TemplateProcessing") {
    const JsonField special_tokens = field["special_tokens"];
    single_ = read_template(field["single"], special_tokens, 1);
    pair_ = read_template(field["pair"], special_tokens, 2);
    return;
  }
  const bool bert = type == "BertProcessing";
  if (!bert && type != "RobertaProcessing") {
    throw field.error(
        "{} is not supported; TemplateProcessing, BertProcessing, RobertaProcessing, ByteLevel and Sequence are",
        quote(type));
  }
  const int32_t cls = read_named_id(field["cls"]), sep = read_named_id(field["sep"]);
  single_ = {token_part(cls, 0), text_part(0, 0), token_part(sep, 0)};
  pair_ = single_;
  if (bert) {
    pair_.insert(pair_.end(), {text_part(1, 1), token_part(sep, 1)});
  } else {
    pair_.insert(pair_.end(), {token_part(sep, 0), text_part(1, 0), token_part(sep, 0)});
  }
}

}  // namespace mora::tokenizer
