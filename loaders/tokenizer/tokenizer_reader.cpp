// tokenizer.json → Tokenizer. Every id, token and name is checked before it is used.
#include <algorithm>
#include <cctype>
#include <nlohmann/json.hpp>

#include "loaders/json.h"
#include "loaders/quote.h"
#include "loaders/tokenizer/tokenizer_impl.h"
#include "loaders/utf8.h"

namespace mora {

using namespace tokenizer;  // NOLINT(google-build-using-namespace): this file belongs to it

namespace {

using TokenId = std::pair<std::string_view, int32_t>;

// The model's "vocab", sorted by id; each token is UTF-8 and not empty, each id is there once.
std::vector<TokenId> read_vocabulary(const JsonField& field) {
  if (!field.json().is_object())
    throw field.error("expected an object of tokens and ids, found {}", field.json().type_name());
  std::vector<TokenId> tokens;
  tokens.reserve(field.json().size());
  for (const auto& [token, id] : field.json().items()) {
    const JsonField entry(id, field.name());
    if (token.empty()) throw entry.error("a token is empty");
    if (valid_utf8_prefix(token) != token.size()) throw entry.error("token {} is not UTF-8", quote(token));
    const auto value = natural_number(id);
    if (!value) throw entry.error("the id of {} is not an integer of at least 0", quote(token));
    if (*value > INT32_MAX) throw entry.error("the id of {}, {}, is above 2147483647", quote(token), *value);
    tokens.emplace_back(std::string_view(token), static_cast<int32_t>(*value));
  }
  if (tokens.empty()) throw field.error("there are no tokens");
  std::sort(tokens.begin(), tokens.end(), [](const TokenId& a, const TokenId& b) { return a.second < b.second; });
  for (size_t i = 1; i < tokens.size(); ++i) {
    if (tokens[i].second == tokens[i - 1].second) {
      throw field.error("{} and {} both have id {}", quote(tokens[i - 1].first), quote(tokens[i].first),
                        tokens[i].second);
    }
  }
  return tokens;
}

// The tokens of the model and the added ones together, which must fill the ids from 0 up.
Vocabulary join_vocabularies(const JsonField& field, const std::vector<TokenId>& tokens,
                             const std::vector<AddedToken>& added) {
  std::unordered_map<std::string_view, int32_t> id_of(tokens.begin(), tokens.end());
  std::unordered_map<int32_t, std::string_view> token_of;
  for (const auto& [token, id] : tokens) token_of.emplace(id, token);
  std::vector<TokenId> all = tokens;
  for (size_t i = 0; i < added.size(); ++i) {
    const auto name = [&] {
      return fmt::format("added_tokens[{}]: {} with id {}", i, quote(added[i].content), added[i].id);
    };
    const auto [same_text, new_text] = id_of.emplace(added[i].content, added[i].id);
    if (same_text->second != added[i].id) throw field.error("{} has id {} elsewhere", name(), same_text->second);
    const auto [same_id, new_id] = token_of.emplace(added[i].id, added[i].content);
    if (same_id->second != added[i].content) throw field.error("{} collides with {}", name(), quote(same_id->second));
    if (new_text) all.emplace_back(added[i].content, added[i].id);
  }
  std::sort(all.begin(), all.end(), [](const TokenId& a, const TokenId& b) { return a.second < b.second; });
  Vocabulary vocabulary;
  for (size_t i = 0; i < all.size(); ++i) {
    if (all[i].second != static_cast<int32_t>(i)) {
      throw field.error("model.vocab: no token has id {}, though {} has {}; ids must run from 0 without gaps", i,
                        quote(all[i].first), all[i].second);
    }
    vocabulary.add(all[i].first, all[i].second);
  }
  return vocabulary;
}

// <0xZZ> where bytes are meant.
void check_byte_tokens(const JsonField& model, const Vocabulary& vocabulary) {
  for (int32_t id = 0; id < vocabulary.size(); ++id) {
    const std::string_view token = vocabulary.token(id);
    if (token.size() == 6 && token.starts_with("<0x") && token.ends_with('>') && !byte_of_token(token)) {
      throw model["vocab"].error("{} is not a byte token; <0x00> to <0xFF> are", quote(token));
    }
  }
}

std::string model_type(const JsonField& model) {
  if (model.find("type")) return model["type"].text();
  if (model.find("merges")) return "BPE";  // files older than the tag
  return model.find("continuing_subword_prefix") ? "WordPiece" : "WordLevel";
}

std::unique_ptr<Model> read_model(const JsonField& field, const Vocabulary& vocabulary, PreTokenizer& pre_tokenizer) {
  const std::string type = model_type(field);
  if (type == "BPE") {
    const bool reads_bytes = bpe_can_read_bytes(field) && pre_tokenizer.drop_byte_characters();
    return read_bpe(field, vocabulary, reads_bytes);
  }
  if (type == "WordPiece") return read_word_piece(field, vocabulary);
  if (type == "WordLevel") return read_word_level(field, vocabulary);
  throw field["type"].error("{} is not supported; BPE, WordPiece and WordLevel are", quote(type));
}

// A special token of tokenizer_config.json: "<s>" or {"content": "<s>", …}.
std::optional<int32_t> read_special(const JsonField& config, const char* key, const Vocabulary& vocabulary) {
  const auto field = config.find(key);
  if (!field) return std::nullopt;
  const std::string token = field->json().is_object() ? (*field)["content"].text() : field->text();
  const int32_t id = vocabulary.find(token);
  if (id < 0) throw field->error("{} is not in the vocabulary", quote(token));
  return id;
}

std::optional<bool> read_flag(const JsonField& config, const char* key) {
  const auto field = config.find(key);
  return field ? std::optional(field->boolean()) : std::nullopt;
}

// What `config` names; what `special` has already stays.
void read_special_tokens(const JsonField& config, const Vocabulary& vocabulary, SpecialTokens& special) {
  const auto read = [&](std::optional<int32_t>& id, const char* key) {
    if (!id) id = read_special(config, key, vocabulary);
  };
  read(special.bos, "bos_token");
  read(special.eos, "eos_token");
  read(special.pad, "pad_token");
  read(special.unk, "unk_token");
  if (!special.add_bos) special.add_bos = read_flag(config, "add_bos_token");
  if (!special.add_eos) special.add_eos = read_flag(config, "add_eos_token");
}

}  // namespace

// Builds what only a Tokenizer may hold.
struct TokenizerReader {
  static std::shared_ptr<Tokenizer::Impl> read(const nlohmann::json& json, std::string_view source) {
    const JsonField file = JsonField::root(json, source);
    if (const auto version = file.find("version"); version && version->text() != "1.0") {
      throw version->error("{} is not supported; 1.0 is", quote(version->text()));
    }
    auto impl = std::make_shared<Tokenizer::Impl>();
    impl->source = source;
    const JsonField model = file["model"];
    const auto tokens = read_vocabulary(model["vocab"]);
    const auto list = file.find("added_tokens");
    auto added = list ? read_added_tokens(*list) : std::vector<AddedToken>();
    impl->vocabulary = join_vocabularies(file, tokens, added);
    for (const auto& [token, id] : tokens) impl->model_vocabulary.add(token, id);
    impl->normalizer = Normalizer(file.find("normalizer"));
    impl->pre_tokenizer = PreTokenizer(file.find("pre_tokenizer"));
    impl->decoder = Decoder(file.find("decoder"));
    if (model.boolean_or("byte_fallback", false) || impl->decoder.reads_byte_tokens()) {
      check_byte_tokens(model, impl->model_vocabulary);
    }
    impl->model = read_model(model, impl->model_vocabulary, impl->pre_tokenizer);
    const auto is_token = [&](int32_t id) { return impl->vocabulary.has(id); };
    impl->post_processor = PostProcessor(file.find("post_processor"), is_token);
    impl->added = AddedTokens(std::move(added), impl->normalizer);
    return impl;
  }

  static void name_special_tokens(Tokenizer::Impl& impl, const nlohmann::json& config, std::string_view source) {
    read_special_tokens(JsonField::root(config, source), impl.vocabulary, impl.special);
  }

  static Tokenizer wrap(std::shared_ptr<Tokenizer::Impl> impl) { return Tokenizer(std::move(impl)); }
};

Tokenizer Tokenizer::from_json(const nlohmann::json& tokenizer, std::string_view source) {
  return TokenizerReader::wrap(TokenizerReader::read(tokenizer, source));
}

Tokenizer Tokenizer::from_json(const nlohmann::json& tokenizer, const nlohmann::json& config, std::string_view source) {
  auto impl = TokenizerReader::read(tokenizer, source);
  TokenizerReader::name_special_tokens(*impl, config, source);
  return TokenizerReader::wrap(std::move(impl));
}

Tokenizer Tokenizer::load(const std::filesystem::path& model_directory_or_file) {
  const bool is_directory = std::filesystem::is_directory(model_directory_or_file);
  const auto file = is_directory ? model_directory_or_file / "tokenizer.json" : model_directory_or_file;
  require<IoError>(!is_directory || std::filesystem::exists(file),
                   "{}: no tokenizer.json; transformers' save_pretrained of the model's fast tokenizer writes one",
                   model_directory_or_file.string());
  auto impl = TokenizerReader::read(read_json(file), file.string());
  for (const char* name : {"tokenizer_config.json", "special_tokens_map.json"}) {
    const auto config = file.parent_path() / name;
    if (!std::filesystem::exists(config)) continue;
    TokenizerReader::name_special_tokens(*impl, read_json(config), config.string());
  }
  return TokenizerReader::wrap(std::move(impl));
}

}  // namespace mora
