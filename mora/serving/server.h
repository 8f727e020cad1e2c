// An OpenAI-compatible server on the loopback interface:
//   POST /v1/chat/completions  /v1/completions  /v1/embeddings     GET /v1/models  /v1/models/NAME
#pragma once

#include "mora/serving/http_server.h"
#include "mora/serving/scheduler.h"
#include "mora/serving/served_model.h"

namespace mora {

struct ServerOptions {
  int port = 8000;  // 0: any that is free
  HttpLimits http = {};
  SchedulerOptions scheduler = {};
  std::function<void(const std::string& line)> log = [](const std::string&) {};
  bool obey_signals = false;  // SIGINT and SIGTERM stop it
};

class Server {
 public:
  // Listens at once and answers once it runs. Throws IoError when the port cannot be had.
  Server(ServedModel served, const ServerOptions& options);
  ~Server();

  int port() const { return http_.port(); }
  // Computes in this thread until it is stopped; HTTP has a thread of its own. The signal that stopped it, or 0.
  int run();
  void stop() { scheduler_.stop(); }  // any thread
  Scheduler::Load load() const { return scheduler_.load(); }

 private:
  HttpHooks hooks(const ServerOptions& options);
  void handle(const HttpRequest& request, const std::shared_ptr<Exchange>& exchange);
  void route(const HttpRequest& request, const std::shared_ptr<Exchange>& exchange);
  void post(const HttpRequest& request, const std::shared_ptr<Exchange>& exchange);

  ServedModel served_;
  int64_t created_;
  std::atomic<int> signal_{0};
  HttpServer http_;      // outlives what the scheduler holds of it
  Scheduler scheduler_;  // run() ends HTTP's thread before it goes
};

}  // namespace mora
