// OpenAI's answers, written as the scheduler makes them.
#pragma once

#include <string>

#include "mora/serving/api_request.h"
#include "mora/serving/http_server.h"
#include "mora/serving/scheduler.h"

namespace mora {

// {"error": {"message", "type", "param", "code"}}
std::string error_json(int status, const std::string& message, const std::string& code = "");

// {"object": "list", "data": […]}, or the one of that name. Throws ApiError where there is none.
std::string models_json(const ServedModel& served, int64_t created);
std::string model_json(const ServedModel& served, int64_t created, const std::string& name);

// They answer `exchange`; the served model outlives them.
std::shared_ptr<TextClient> answer_texts(const TextQuery& query, const ServedModel& served,
                                         std::shared_ptr<Exchange> exchange);
std::shared_ptr<EmbeddingClient> answer_embeddings(const EmbeddingQuery& query, const ServedModel& served,
                                                   std::shared_ptr<Exchange> exchange);

}  // namespace mora
