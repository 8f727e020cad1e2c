#include "mora/serving/api_request.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <random>

#include "loaders/json_fields.h"
#include "loaders/nearest.h"
#include "loaders/quote.h"

namespace mora {
namespace {

using nlohmann::json;
using Words = std::vector<std::string>;

constexpr int64_t kMostChoices = 16, kMostPrompts = 64, kMostStops = 4, kMostEmbeddings = 2048;

const Words sampling_keys = {"model", "max_tokens", "temperature", "top_p",          "top_k", "repetition_penalty",
                             "seed",  "stop",       "stream",      "stream_options", "n"};
// Keys that change nothing here.
const Words ignored_keys = {"user", "metadata", "store", "service_tier", "parallel_tool_calls", "safety_identifier"};
// What this server does not do, and the value that asks for nothing of it.
const json neutral_values = {{"frequency_penalty", 0},
                             {"presence_penalty", 0},
                             {"logit_bias", json::object()},
                             {"logprobs", false},
                             {"top_logprobs", 0},
                             {"tools", json::array()},
                             {"tool_choice", "none"},
                             {"response_format", {{"type", "text"}}},
                             {"best_of", 1},
                             {"echo", false},
                             {"suffix", ""},
                             {"functions", json::array()}};

// Every member is one of `known`, or asks for nothing.
void check_keys(const json& body, Words known) {
  for (const auto& [key, value] : body.items()) {
    if (value.is_null() || std::ranges::find(known, key) != known.end() ||
        std::ranges::find(ignored_keys, key) != ignored_keys.end())
      continue;
    if (neutral_values.contains(key)) {
      if (value == neutral_values[key]) continue;
      throw ApiError(400, "unsupported_parameter", fmt::format("{}: this server does not do that; leave it out", key));
    }
    const std::string nearest = nearest_name(key, known);
    throw ApiError(400, "unknown_parameter",
                   fmt::format("{}: no such parameter{}", quote(key),
                               nearest.empty() ? "" : fmt::format("; did you mean {}?", quote(nearest))));
  }
}

Words with(Words words, const Words& more) {
  words.insert(words.end(), more.begin(), more.end());
  return words;
}

size_t adapter_of(const JsonFields& fields, const ServedModel& served) {
  const std::string name = fields.string("model");
  const auto found = std::ranges::find(served.names, name);
  if (found == served.names.end())
    throw ApiError(
        404, "model_not_found",
        fmt::format("the model {} does not exist here; there is {}", quote(name), fmt::join(served.names, ", ")));
  return size_t(found - served.names.begin());
}

void require_language_model(const ServedModel& served) {
  if (!served.is_language_model())
    throw ApiError(400, "model_not_supported",
                   fmt::format("{} writes no text: it is no language model; /v1/embeddings is there", served.names[0]));
}

// Throws where the text is empty or leaves no room for a token behind it.
void check_length(const std::vector<int32_t>& ids, int64_t context, std::string_view what) {
  require<IoError>(!ids.empty(), "{}: no tokens", what);
  if (std::ssize(ids) > context)
    throw ApiError(400, "context_length_exceeded",
                   fmt::format("{}: {} tokens, of at most {} in all", what, ids.size(), context));
}

std::vector<int32_t> token_ids(const json& list, const ServedModel& served, std::string_view what) {
  std::vector<int32_t> ids;
  for (const json& id : list)
    ids.push_back(int32_t(integer_in(id, 0, served.model->base().config().vocab_size - 1, what)));
  return ids;
}

// A string, tokens, or an array of either.
std::vector<std::vector<int32_t>> texts_of(const json& value, const ServedModel& served, std::string_view what,
                                           int64_t most) {
  std::vector<std::vector<int32_t>> texts;
  const auto add = [&](const json& text) {
    if (text.is_string())
      texts.push_back(served.tokenizer.encode(text.get_ref<const std::string&>()));
    else if (text.is_array())
      texts.push_back(token_ids(text, served, what));
    else
      fail<IoError>("{}: expected a string or tokens, got {}", what, describe(text));
  };
  const bool is_list = value.is_array() && !value.empty() && !value[0].is_number();
  if (!is_list) {
    add(value);
    return texts;
  }
  require<IoError>(std::ssize(value) <= most, "{}: {} texts, at most {}", what, value.size(), most);
  for (const json& text : value) add(text);
  return texts;
}

// A message's text: a string, or parts of which each is a text.
std::string content_of(const JsonFields& message) {
  const json* content = message.find("content");
  if (!content) return "";  // of an assistant that called a tool
  if (content->is_string()) return content->get<std::string>();
  require<IoError>(content->is_array(), "{}: expected a string or an array of parts, got {}", message.place("content"),
                   describe(*content));
  std::string text;
  for (const json& part : *content) {
    const JsonFields fields(part, message.place("content"));
    require<IoError>(fields.string("type") == "text", "{}: {}: only parts of type 'text' are read",
                     message.place("content"), quote(fields.string("type")));
    text += fields.string("text");
  }
  return text;
}

std::vector<ChatTurn> turns_of(const json& messages) {
  require<IoError>(messages.is_array() && !messages.empty(), "messages: expected an array of messages, got {}",
                   messages.is_array() ? "an empty one" : describe(messages));
  std::vector<ChatTurn> turns;
  for (size_t i = 0; i < messages.size(); ++i) {
    const JsonFields message(messages[i], fmt::format("messages[{}]", i));
    std::string role = message.string("role");
    if (role == "developer") role = "system";  // OpenAI's newer name
    require<IoError>(role == "system" || role == "user" || role == "assistant",
                     "{}: {}: expected system, user or assistant", message.place("role"), quote(role));
    turns.push_back({role, content_of(message)});
  }
  return turns;
}

std::vector<std::string> stop_strings(const JsonFields& fields) {
  const json* stop = fields.find("stop");
  if (!stop) return {};
  std::vector<std::string> strings = stop->is_string() ? Words{stop->get<std::string>()} : fields.strings("stop");
  require<IoError>(std::ssize(strings) <= kMostStops, "stop: {} strings, at most {}", strings.size(), kMostStops);
  require<IoError>(std::ranges::find(strings, "") == strings.end(), "stop: an empty string");
  return strings;
}

// All but the prompts.
TextQuery read_common(const JsonFields& fields, const ServedModel& served) {
  TextQuery query{.adapter = adapter_of(fields, served)};
  require_language_model(served);
  SamplingOptions& sampling = query.options.sampling;
  sampling.temperature = fields.number("temperature", 0, 2, 1);
  sampling.top_p = fields.number("top_p", 0, 1, 1);
  sampling.top_k = fields.integer("top_k", 0, INT32_MAX, 0);
  sampling.repetition_penalty = fields.number("repetition_penalty", 0, 100, 1);
  sampling.seed = fields.has("seed") ? uint64_t(fields.integer("seed", INT64_MIN, INT64_MAX)) : std::random_device{}();
  sampling.check();
  query.options.stop_tokens = served.stop_tokens;
  query.choices = fields.integer("n", 1, kMostChoices, 1);
  query.stop = stop_strings(fields);
  query.stream = fields.boolean("stream", false);
  if (const json* options = fields.find("stream_options"))
    query.include_usage = JsonFields(*options, "stream_options").boolean("include_usage", false);
  return query;
}

// Prompt and answer fit into the context; without a limit of the request's, the answer takes what is left.
void limit_tokens(TextQuery& query, const ServedModel& served, std::optional<int64_t> wanted) {
  int64_t longest = 0;
  for (const auto& prompt : query.prompts) {
    check_length(prompt, served.context - 1, "the prompt");
    longest = std::max(longest, std::ssize(prompt));
  }
  if (wanted && longest + *wanted > served.context)
    throw ApiError(400, "context_length_exceeded",
                   fmt::format("{} tokens of the prompt and max_tokens {} are more than the {} there are in all",
                               longest, *wanted, served.context));
  query.options.max_tokens = wanted.value_or(served.context);
}

}  // namespace

std::vector<DecodeRequest> TextQuery::texts(int64_t context) const {
  std::vector<DecodeRequest> list;
  for (const auto& prompt : prompts) {
    for (int64_t choice = 0; choice < choices; ++choice) {
      list.push_back({.prompt = prompt, .options = options, .draw = list.size(), .adapter = adapter});
      int64_t& most = list.back().options.max_tokens;
      most = std::min(most, context - std::ssize(prompt));
    }
  }
  return list;
}

TextQuery read_chat_query(const json& body, const ServedModel& served) {
  const JsonFields fields(body, "the request");
  check_keys(body, with(sampling_keys, {"messages", "max_completion_tokens"}));
  TextQuery query = read_common(fields, served);
  query.is_chat = true;
  const auto& chat_template = served.templates[query.adapter];
  if (!chat_template)
    throw ApiError(400, "model_not_supported",
                   fmt::format("{} has no chat template; use /v1/completions", served.names[query.adapter]));
  query.prompts = {chat_prompt_ids(served.tokenizer, *chat_template, turns_of(fields.require_member("messages")))};
  std::optional<int64_t> most;
  for (const char* key : {"max_tokens", "max_completion_tokens"})
    if (fields.has(key)) most = fields.integer(key, 1, INT32_MAX);
  limit_tokens(query, served, most);
  return query;
}

TextQuery read_completion_query(const json& body, const ServedModel& served) {
  const JsonFields fields(body, "the request");
  check_keys(body, with(sampling_keys, {"prompt"}));
  TextQuery query = read_common(fields, served);
  query.prompts = texts_of(fields.require_member("prompt"), served, "prompt", kMostPrompts);
  limit_tokens(query, served, fields.integer("max_tokens", 1, INT32_MAX, 16));  // OpenAI's default
  return query;
}

EmbeddingQuery read_embedding_query(const json& body, const ServedModel& served) {
  const JsonFields fields(body, "the request");
  check_keys(body, {"model", "input", "encoding_format"});
  EmbeddingQuery query{.adapter = adapter_of(fields, served)};
  query.texts = texts_of(fields.require_member("input"), served, "input", kMostEmbeddings);
  for (const auto& text : query.texts) check_length(text, served.context, "input");
  const std::string format = fields.string("encoding_format", "float");
  require<IoError>(format == "float" || format == "base64", "encoding_format: {}: expected float or base64",
                   quote(format));
  query.base64 = format == "base64";
  return query;
}

}  // namespace mora
