// The bodies of OpenAI's requests, checked: what cannot be meant, or is not done here, is an error and never ignored.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include "mora/generation/decode_batch.h"
#include "mora/serving/served_model.h"

namespace mora {

// Answered with this HTTP status and OpenAI's error object.
struct ApiError : Error {
  ApiError(int http_status, std::string code_word, const std::string& message)
      : Error(message), status(http_status), code(std::move(code_word)) {}
  int status;
  std::string code;  // "" where there is none
};

// Of /v1/completions and /v1/chat/completions: `choices` texts for each prompt.
struct TextQuery {
  bool is_chat = false;
  size_t adapter = 0;
  std::vector<std::vector<int32_t>> prompts = {};
  int64_t choices = 1;
  GenerationOptions options = {};  // max_tokens: of the longest answer
  std::vector<std::string> stop = {};
  bool stream = false, include_usage = false;

  // A text for each choice of each prompt, in that order.
  std::vector<DecodeRequest> texts(int64_t context) const;
};

// Of /v1/embeddings.
struct EmbeddingQuery {
  size_t adapter = 0;
  std::vector<std::vector<int32_t>> texts = {};
  bool base64 = false;
};

// These throw ApiError; IoError, ConfigError and TemplateError for what is wrong with a field.
TextQuery read_chat_query(const nlohmann::json& body, const ServedModel& served);
TextQuery read_completion_query(const nlohmann::json& body, const ServedModel& served);
EmbeddingQuery read_embedding_query(const nlohmann::json& body, const ServedModel& served);

}  // namespace mora
