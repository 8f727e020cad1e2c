// tokenizer.json out of the keys tokenizer.ggml.*.
#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "engine/error.h"
#include "loaders/gguf_model.h"
#include "loaders/quote.h"
#include "loaders/utf8.h"

namespace mora {
namespace {

using nlohmann::json;

enum TokenType : int64_t { kNormal = 1, kUnknown = 2, kControl = 3, kUserDefined = 4, kUnused = 5, kByte = 6 };

constexpr size_t kMaxMergedToken = 1024;  // bytes of a token that merges are derived for: derivation is quadratic in it

constexpr const char* kSpace = "\u2581";  // SentencePiece's ▁

// The regular expressions of Llama 3 and Qwen 2; they differ in how many digits go together.
std::string split_expression(const char* digits) {
  return std::string("(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|") + digits +
         "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
}

json byte_level(bool use_regex) {
  return {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", use_regex}};
}

json sequence(const char* member, std::vector<json> stages) {
  return {{"type", "Sequence"}, {member, std::move(stages)}};
}

json replace(const char* from, const char* to) {
  return {{"type", "Replace"}, {"pattern", {{"String", from}}}, {"content", to}};
}

class Builder {
 public:
  explicit Builder(const GgufFile& file) : file_(file), tokens_(file.strings("tokenizer.ggml.tokens")) {
    if (file.has(kTypes)) types_ = file.integers(kTypes);
    require<IoError>(types_.empty() || types_.size() == tokens_.size(), "{}: {} entries for {} tokens",
                     file.place(kTypes), types_.size(), tokens_.size());
  }

  json build() {
    const std::string model = file_.string("tokenizer.ggml.model");
    require<IoError>(model == "gpt2" || model == "llama", "{}: {} is not supported; supported are gpt2, llama",
                     file_.place("tokenizer.ggml.model"), quote(model));
    json document = {{"version", "1.0"}, {"truncation", nullptr}, {"padding", nullptr}, {"normalizer", nullptr}};
    document["added_tokens"] = added_tokens();
    document["model"] = bpe();
    if (model == "gpt2") {
      byte_level_stages(document);
    } else {
      sentence_piece_stages(document);
    }
    document["post_processor"] = post_processor();
    return document;
  }

  json config() const {
    json names = json::object();
    const auto name = [&](const char* what, const char* key) {
      if (file_.has(key)) names[what] = token(static_cast<size_t>(file_.integer(key)));
    };
    name("bos_token", "tokenizer.ggml.bos_token_id");
    name("eos_token", "tokenizer.ggml.eos_token_id");
    name("pad_token", "tokenizer.ggml.padding_token_id");
    return names;
  }

 private:
  static constexpr const char* kTypes = "tokenizer.ggml.token_type";

  int64_t type_of(size_t id) const { return types_.empty() ? kNormal : types_[id]; }

  std::string token(size_t id) const {
    require<IoError>(id < tokens_.size(), "{}: token id {} of {}", file_.place("tokenizer.ggml.tokens"), id,
                     tokens_.size());
    const std::string_view text = tokens_[id];
    require<IoError>(valid_utf8_prefix(text) == text.size(), "{}: token {} is not UTF-8",
                     file_.place("tokenizer.ggml.tokens"), id);
    return std::string(text);
  }

  json added_tokens() const {
    json added = json::array();
    for (size_t id = 0; id < tokens_.size(); ++id) {
      const bool special = type_of(id) == kControl || type_of(id) == kUnknown;
      if (!special && type_of(id) != kUserDefined) continue;
      added.push_back({{"id", id},
                       {"content", token(id)},
                       {"single_word", false},
                       {"lstrip", false},
                       {"rstrip", false},
                       {"normalized", false},
                       {"special", special}});
    }
    return added;
  }

  json vocabulary() const {
    json vocabulary = json::object();
    for (size_t id = 0; id < tokens_.size(); ++id) {
      const auto [entry, fresh] = vocabulary.get_ref<json::object_t&>().emplace(token(id), id);
      require<IoError>(fresh, "{}: {} is there twice, as {} and {}", file_.place("tokenizer.ggml.tokens"),
                       quote(entry->first), entry->second.get<size_t>(), id);
    }
    return vocabulary;
  }

  json bpe() const {
    json model = {{"type", "BPE"},
                  {"dropout", nullptr},
                  {"unk_token", nullptr},
                  {"continuing_subword_prefix", nullptr},
                  {"end_of_word_suffix", nullptr},
                  {"fuse_unk", false},
                  {"byte_fallback", false},
                  {"ignore_merges", false}};
    model["vocab"] = vocabulary();
    model["merges"] = file_.has("tokenizer.ggml.merges") ? listed_merges() : derived_merges(model["vocab"]);
    return model;
  }

  json listed_merges() const {
    json merges = json::array();
    for (const std::string_view merge : file_.strings("tokenizer.ggml.merges")) {
      require<IoError>(valid_utf8_prefix(merge) == merge.size(), "{}: merge {} is not UTF-8",
                       file_.place("tokenizer.ggml.merges"), merges.size());
      merges.push_back(merge);
    }
    return merges;
  }

  // SentencePiece keeps scores and no merges: a token can come from every split of it into two tokens, and those of
  // higher score merge first; of one token, the split whose left part has the lower id (transformers, generate_merges).
  json derived_merges(const json& vocabulary) const {
    const std::vector<double> scores = file_.numbers("tokenizer.ggml.scores");
    require<IoError>(scores.size() == tokens_.size(), "{}: {} entries for {} tokens",
                     file_.place("tokenizer.ggml.scores"), scores.size(), tokens_.size());
    const bool finite = std::ranges::all_of(scores, [](double score) { return std::isfinite(score); });
    require<IoError>(finite, "{}: expected finite scores", file_.place("tokenizer.ggml.scores"));
    std::unordered_map<std::string_view, size_t> ids;
    for (const auto& [text, id] : vocabulary.items()) ids.emplace(tokens_[id.get<size_t>()], id.get<size_t>());
    struct Merge {
      double score;
      size_t left, right;
    };
    std::vector<Merge> merges;
    for (size_t id = 0; id < tokens_.size(); ++id) {
      const std::string_view text = tokens_[id];
      if (text.size() > kMaxMergedToken) continue;
      const size_t first = merges.size();
      for (size_t cut = 1; cut < text.size(); ++cut) {
        if ((static_cast<unsigned char>(text[cut]) & 0xC0u) == 0x80u) continue;  // inside a character
        const auto left = ids.find(text.substr(0, cut)), right = ids.find(text.substr(cut));
        if (left != ids.end() && right != ids.end()) merges.push_back({scores[id], left->second, right->second});
      }
      std::sort(merges.begin() + static_cast<std::ptrdiff_t>(first), merges.end(),
                [](const Merge& a, const Merge& b) { return std::pair(a.left, a.right) < std::pair(b.left, b.right); });
    }
    std::ranges::stable_sort(merges, std::ranges::greater{}, &Merge::score);
    json pairs = json::array();
    for (const Merge& m : merges) pairs.push_back(json::array({tokens_[m.left], tokens_[m.right]}));
    return pairs;
  }

  void byte_level_stages(json& document) const {
    const std::string pre = file_.string("tokenizer.ggml.pre", "default");
    const auto split = [](const char* digits) {
      const json regex = {{"type", "Split"},
                          {"pattern", {{"Regex", split_expression(digits)}}},
                          {"behavior", "Isolated"},
                          {"invert", false}};
      return sequence("pretokenizers", {regex, byte_level(false)});
    };
    if (pre == "gpt-2" || pre == "default") {
      document["pre_tokenizer"] = byte_level(true);
    } else if (pre == "smollm") {
      document["pre_tokenizer"] =
          sequence("pretokenizers", {{{"type", "Digits"}, {"individual_digits", true}}, byte_level(true)});
    } else if (pre == "llama-bpe") {
      document["pre_tokenizer"] = split("\\p{N}{1,3}");
      document["model"]["ignore_merges"] = true;
    } else if (pre == "qwen2") {
      document["pre_tokenizer"] = split("\\p{N}");
      document["normalizer"] = {{"type", "NFC"}};
    } else {
      fail<IoError>("{}: {} is not supported; supported are gpt-2, default, smollm, llama-bpe, qwen2",
                    file_.place("tokenizer.ggml.pre"), quote(pre));
    }
    document["decoder"] = byte_level(true);
  }

  void sentence_piece_stages(json& document) const {
    const bool prefix = file_.boolean("tokenizer.ggml.add_space_prefix", true);
    const json spaces = replace(" ", kSpace);
    document["normalizer"] =
        prefix ? sequence("normalizers", {{{"type", "Prepend"}, {"prepend", kSpace}}, spaces}) : spaces;
    document["pre_tokenizer"] = nullptr;
    std::vector<json> decoders = {replace(kSpace, " "), {{"type", "ByteFallback"}}, {{"type", "Fuse"}}};
    if (prefix) decoders.push_back({{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}});
    document["decoder"] = sequence("decoders", std::move(decoders));
    json& model = document["model"];
    model["unk_token"] = token(static_cast<size_t>(file_.integer("tokenizer.ggml.unknown_token_id", 0)));
    model["fuse_unk"] = true;
    model["byte_fallback"] = true;
  }

  // The tokens at the start and the end of a text; null when there are none.
  json post_processor() const {
    const bool sentence_piece = file_.string("tokenizer.ggml.model") == "llama";
    const bool llama3 = file_.string("tokenizer.ggml.pre", "") == "llama-bpe";
    const bool bos = file_.boolean("tokenizer.ggml.add_bos_token", sentence_piece || llama3);
    const bool eos = file_.boolean("tokenizer.ggml.add_eos_token", false);
    if (!bos && !eos) return nullptr;
    json special = json::object(), single = json::array(), pair = json::array();
    const auto piece = [&](const char* key) {
      const int64_t id = file_.integer(key);
      const std::string text = token(static_cast<size_t>(id));
      special[text] = {{"id", text}, {"ids", {id}}, {"tokens", {text}}};
      return text;
    };
    const std::string start = bos ? piece("tokenizer.ggml.bos_token_id") : "";
    const std::string end = eos ? piece("tokenizer.ggml.eos_token_id") : "";
    const auto add = [&](json& list, const char* text, int type) {
      if (bos) list.push_back({{"SpecialToken", {{"id", start}, {"type_id", type}}}});
      list.push_back({{"Sequence", {{"id", text}, {"type_id", type}}}});
      if (eos) list.push_back({{"SpecialToken", {{"id", end}, {"type_id", type}}}});
    };
    add(single, "A", 0);
    add(pair, "A", 0);
    add(pair, "B", 1);
    return {{"type", "TemplateProcessing"}, {"single", single}, {"pair", pair}, {"special_tokens", special}};
  }

  const GgufFile& file_;
  std::vector<std::string_view> tokens_;
  std::vector<int64_t> types_;
};

}  // namespace

json gguf_tokenizer_json(const GgufFile& file) { return Builder(file).build(); }

json gguf_tokenizer_config(const GgufFile& file) { return Builder(file).config(); }

}  // namespace mora
