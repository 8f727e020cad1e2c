#include "loaders/tokenizer/pre_tokenizer.h"

#include "loaders/quote.h"
#include "loaders/tokenizer/byte_alphabet.h"
#include "loaders/tokenizer/codepoint.h"
#include "loaders/tokenizer/gpt_scanner.h"
#include "loaders/tokenizer/unicode.h"

namespace mora::tokenizer {
namespace {

// Splits each piece, and leaves the text alone.
class SplitStage : public PreTokenizerStage {
 public:
  void apply(Pieces& pieces, Pieces& scratch) const override {
    scratch.spans.clear();
    for (const Span& span : pieces.spans) {
      size_t kept = scratch.spans.size();
      split(pieces.piece(span), scratch.spans);
      for (size_t i = kept; i < scratch.spans.size(); ++i) {  // to places in the text; empty ones go
        const Span each = scratch.spans[i];
        if (each.begin < each.end) scratch.spans[kept++] = {span.begin + each.begin, span.begin + each.end};
      }
      scratch.spans.resize(kept);
    }
    pieces.spans.swap(scratch.spans);
  }

 protected:
  // Appends the parts of `piece`, relative to its begin.
  virtual void split(std::string_view piece, std::vector<Span>& out) const = 0;
};

class Split : public SplitStage {
 public:
  Split(std::unique_ptr<Pattern> pattern, SplitBehavior behavior, bool invert = false)
      : pattern_(std::move(pattern)), behavior_(behavior), invert_(invert) {}

 protected:
  void split(std::string_view piece, std::vector<Span>& out) const override {
    thread_local std::vector<Stretch> stretches;
    stretches.clear();
    pattern_->divide(piece, stretches);
    if (invert_) {
      for (Stretch& each : stretches) each.match = !each.match;
    }
    apply_split_behavior(behavior_, stretches, out);
  }

 private:
  std::unique_ptr<Pattern> pattern_;
  SplitBehavior behavior_;
  bool invert_;
};

// The maximal runs of characters of one class each, others left out.
template <class Classify>
class RunSplit : public SplitStage {
 protected:
  void split(std::string_view piece, std::vector<Span>& out) const override {
    int previous = 0;  // class 0 is left out, a negative one stands alone
    for (size_t at = 0; at < piece.size();) {
      const auto begin = static_cast<uint32_t>(at);
      const int kind = Classify()(char_flags(next_codepoint(piece, at)));
      if (kind != 0 && (kind < 0 || kind != previous)) out.push_back({begin, begin});
      if (kind != 0) out.back().end = static_cast<uint32_t>(at);
      previous = kind;
    }
  }
};

struct BertClasses {
  int operator()(uint16_t flags) const { return flags & kSpace ? 0 : flags & kPunctuation ? -1 : 1; }
};
struct WhitespaceClasses {  // \w+|[^\w\s]+
  int operator()(uint16_t flags) const { return flags & kWord ? 1 : flags & kSpace ? 0 : 2; }
};
struct WhitespaceSplitClasses {
  int operator()(uint16_t flags) const { return flags & kSpace ? 0 : 1; }
};

// Rewrites each piece, which keeps it one piece.
class RewriteStage : public PreTokenizerStage {
 public:
  void apply(Pieces& pieces, Pieces& scratch) const override {
    scratch.text.clear();
    pieces.at_start = pieces.at_start && !pieces.spans.empty() && pieces.spans[0].begin == 0;
    for (size_t i = 0; i < pieces.spans.size(); ++i) {
      Span& span = pieces.spans[i];
      const std::string_view piece = pieces.piece(span);
      span.begin = static_cast<uint32_t>(scratch.text.size());
      rewrite(piece, pieces.at_start && i == 0, scratch.text);
      span.end = static_cast<uint32_t>(scratch.text.size());
    }
    pieces.text.swap(scratch.text);
  }

 protected:
  // Appends what becomes of `piece`; `at_start`: the user's text begins with it.
  virtual void rewrite(std::string_view piece, bool at_start, std::string& out) const = 0;
};

class PrefixSpace : public RewriteStage {
 protected:
  void rewrite(std::string_view piece, bool, std::string& out) const override {
    if (!piece.starts_with(' ')) out += ' ';
    out += piece;
  }
};

class ByteCharacters : public RewriteStage {
 protected:
  void rewrite(std::string_view piece, bool, std::string& out) const override { append_byte_characters(out, piece); }
};

// Spaces become `replacement`, which also goes before a piece that does not begin with it.
class Metaspace : public RewriteStage {
 public:
  enum class Prepend { kAlways, kFirst, kNever };

  Metaspace(std::string replacement, Prepend prepend) : replacement_(std::move(replacement)), prepend_(prepend) {}

 protected:
  void rewrite(std::string_view piece, bool at_start, std::string& out) const override {
    const bool begins = piece.starts_with(' ') || piece.starts_with(replacement_);
    if (!begins && (prepend_ == Prepend::kAlways || (prepend_ == Prepend::kFirst && at_start))) out += replacement_;
    for (const char byte : piece) {
      if (byte == ' ') {
        out += replacement_;
      } else {
        out += byte;
      }
    }
  }

 private:
  std::string replacement_;
  Prepend prepend_;
};

Metaspace::Prepend read_prepend_scheme(const JsonField& field) {
  const auto old = field.find("add_prefix_space");  // what older files say instead
  const bool never = old && !old->boolean();
  const auto scheme = field.find("prepend_scheme");
  if (!scheme) return never ? Metaspace::Prepend::kNever : Metaspace::Prepend::kAlways;
  const std::string name = scheme->text();
  if (never && name != "never") throw old->error("false contradicts prepend_scheme {}", quote(name));
  if (name == "always") return Metaspace::Prepend::kAlways;
  if (name == "first") return Metaspace::Prepend::kFirst;
  if (name == "never") return Metaspace::Prepend::kNever;
  throw scheme->error("unknown scheme {}; always, first and never are supported", quote(name));
}

using Stages = std::vector<std::unique_ptr<PreTokenizerStage>>;

void read_byte_level(const JsonField& field, Stages& stages) {
  if (field["add_prefix_space"].boolean()) stages.push_back(std::make_unique<PrefixSpace>());
  if (field.boolean_or("use_regex", true)) {
    stages.push_back(std::make_unique<Split>(gpt_scanner(kGpt2Regex), SplitBehavior::kIsolated));
  }
  stages.push_back(std::make_unique<ByteCharacters>());
}

void read_metaspace(const JsonField& field, Stages& stages) {
  std::string replacement;
  append_utf8(replacement, field["replacement"].character());
  stages.push_back(std::make_unique<Metaspace>(replacement, read_prepend_scheme(field)));
  if (field.boolean_or("split", true)) {
    stages.push_back(std::make_unique<Split>(literal(replacement), SplitBehavior::kMergedWithNext));
  }
}

std::unique_ptr<PreTokenizerStage> read_split_stage(const JsonField& field, const std::string& type) {
  if (type == "BertPreTokenizer") return std::make_unique<RunSplit<BertClasses>>();
  if (type == "Whitespace") return std::make_unique<RunSplit<WhitespaceClasses>>();
  if (type == "WhitespaceSplit") return std::make_unique<RunSplit<WhitespaceSplitClasses>>();
  if (type == "Split") {
    return std::make_unique<Split>(read_pattern(field["pattern"]), read_split_behavior(field["behavior"]),
                                   field["invert"].boolean());
  }
  if (type == "Digits") {
    return std::make_unique<Split>(character_class(kNumeric), field.boolean_or("individual_digits", false)
                                                                  ? SplitBehavior::kIsolated
                                                                  : SplitBehavior::kContiguous);
  }
  if (type == "Punctuation") {
    const auto behavior = field.find("behavior");
    return std::make_unique<Split>(character_class(kPunctuation),
                                   behavior ? read_split_behavior(*behavior) : SplitBehavior::kIsolated);
  }
  throw field.error(
      "{} is not supported; BertPreTokenizer, Whitespace, WhitespaceSplit, ByteLevel, Split, Digits, Punctuation, "
      "Metaspace and Sequence are",
      quote(type));
}

}  // namespace

PreTokenizer::PreTokenizer(const std::optional<JsonField>& field) {
  if (field) read(*field);
}

void PreTokenizer::read(const JsonField& field) {
  const std::string type = field["type"].text();
  if (type == "Sequence") {
    const JsonField list = field["pretokenizers"];
    for (size_t i = 0; i < list.items(); ++i) read(list.item(i));
    return;
  }
  if (type == "ByteLevel") {
    read_byte_level(field, stages_);
  } else if (type == "Metaspace") {
    read_metaspace(field, stages_);
  } else {
    stages_.push_back(read_split_stage(field, type));
  }
  ends_in_byte_characters_ = type == "ByteLevel";
}

bool PreTokenizer::drop_byte_characters() {
  if (!ends_in_byte_characters_) return false;
  stages_.pop_back();
  ends_in_byte_characters_ = false;
  return true;
}

void PreTokenizer::apply(Pieces& pieces, Pieces& scratch) const {
  for (const auto& stage : stages_) stage->apply(pieces, scratch);
}

}  // namespace mora::tokenizer
