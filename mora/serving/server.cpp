#include "mora/serving/server.h"

#include <nlohmann/json.hpp>

#include "loaders/json.h"
#include "loaders/quote.h"
#include "mora/serving/api_answer.h"

namespace mora {
namespace {

constexpr std::chrono::seconds kPatience{2};  // for the last answers to be sent

constexpr std::string_view kModels = "/v1/models", kChat = "/v1/chat/completions", kCompletions = "/v1/completions",
                           kEmbeddings = "/v1/embeddings";

bool is_models(std::string_view path) { return path == kModels || path.starts_with(fmt::format("{}/", kModels)); }

}  // namespace

HttpHooks Server::hooks(const ServerOptions& options) {
  HttpHooks hooks{.handle = [this](const HttpRequest& r, std::shared_ptr<Exchange> e) { handle(r, e); },
                  .error_body = [](int status, const std::string& why) { return error_json(status, why); },
                  .log = options.log,
                  .on_signal = {}};
  if (options.obey_signals) {
    hooks.on_signal = [this](int signal) {
      signal_ = signal;
      stop();
    };
  }
  return hooks;
}

Server::Server(ServedModel served, const ServerOptions& options)
    : served_(std::move(served)),
      created_(std::chrono::system_clock::to_time_t(std::chrono::system_clock::now())),
      http_(options.port, options.http, hooks(options)),
      scheduler_(*served_.model, served_.pooling, options.scheduler) {}

int Server::run() {
  http_.start();
  scheduler_.run();
  http_.stop(kPatience);
  return signal_;
}

Server::~Server() { http_.stop(std::chrono::seconds(0)); }

void Server::handle(const HttpRequest& request, const std::shared_ptr<Exchange>& exchange) {
  try {
    route(request, exchange);
  } catch (const ApiError& error) {
    exchange->answer({.status = error.status, .body = error_json(error.status, error.what(), error.code)});
  } catch (const InternalError&) {
    throw;
  } catch (const Error& error) {  // of a field
    exchange->answer({.status = 400, .body = error_json(400, error.what())});
  }
}

void Server::route(const HttpRequest& request, const std::shared_ptr<Exchange>& exchange) {
  const std::string_view path = request.path;
  if (!is_models(path) && path != kChat && path != kCompletions && path != kEmbeddings)
    throw ApiError(404, "",
                   fmt::format("{}: no such path; there are {}, {}, {} and {}", quote(path), kChat, kCompletions,
                               kEmbeddings, kModels));
  const std::string method = is_models(path) ? "GET" : "POST";
  if (request.method != method)
    return exchange->answer(
        {.status = 405, .body = error_json(405, fmt::format("{}: send {}", path, method)), .allow = method});
  if (path == kModels) return exchange->answer({.body = models_json(served_, created_)});
  if (method == "GET")
    return exchange->answer({.body = model_json(served_, created_, request.path.substr(kModels.size() + 1))});
  post(request, exchange);
}

void Server::post(const HttpRequest& request, const std::shared_ptr<Exchange>& exchange) {
  // A browser sends other types for a page of any site, this one only after asking, which nobody answers.
  if (!request.content_type.starts_with("application/json"))
    throw ApiError(415, "", fmt::format("Content-Type: {}: send application/json", quote(request.content_type)));
  const nlohmann::json body = parse_json(request.body, "the request");
  bool queued = false;
  if (request.path == kEmbeddings) {
    EmbeddingQuery query = read_embedding_query(body, served_);
    const auto client = answer_embeddings(query, served_, exchange);
    queued = scheduler_.submit(EmbeddingRequest{client, query.adapter, std::move(query.texts)});
  } else {
    const TextQuery query =
        request.path == kChat ? read_chat_query(body, served_) : read_completion_query(body, served_);
    queued = scheduler_.submit(TextRequest{answer_texts(query, served_, exchange), query.texts(served_.context)});
  }
  if (queued) return;
  exchange->answer({.status = 503,
                    .body = error_json(503, "as many requests wait as may; try again", "overloaded"),
                    .retry_after = 1});
}

}  // namespace mora
