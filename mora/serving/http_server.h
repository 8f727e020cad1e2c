// HTTP on the loopback interface: one request a connection, its size and time bounded, its answer whole or as events
// while they come. What is asked and answered is not known here.
#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>  // Asio of Boost 1.74 needs it and does not ask for it

namespace mora {

struct HttpRequest {
  std::string method, path;  // "POST", "/v1/models" (without a query)
  std::string content_type;  // "" when not given
  std::string body;
};

struct HttpAnswer {
  int status = 200;
  std::string body;        // JSON
  std::string allow = {};  // of 405: the methods there are
  int retry_after = 0;     // seconds; 0: not said
};

// A connection whose request waits for its answer: one `answer`, or `begin_events`, `send_event` …, `end_events`. Any
// thread may call these. What is sent when the client has gone is dropped.
class Exchange {
 public:
  virtual ~Exchange() = default;
  bool is_open() const { return open_; }  // false once the client has gone
  virtual void answer(HttpAnswer answer) = 0;
  virtual void begin_events() = 0;
  virtual void send_event(std::string_view line) = 0;
  virtual void end_events() = 0;

 protected:
  std::atomic<bool> open_{true};
};

struct HttpLimits {
  size_t body_bytes = size_t{4} << 20;
  size_t header_bytes = size_t{16} << 10;
  size_t connections = 256;          // those above wait to be accepted
  std::chrono::seconds request{30};  // for a whole request to arrive
  std::chrono::seconds write{30};    // for the client to take what is written
};

struct HttpHooks {
  // Called by the server's thread with each whole request; what it throws is answered with status 500.
  std::function<void(const HttpRequest&, std::shared_ptr<Exchange>)> handle;
  // The body of an answer to what is no request, or one that cannot be taken.
  std::function<std::string(int status, const std::string& why)> error_body;
  // Hears of each answer, once it is sent: "POST /v1/models 200, 0.12 s".
  std::function<void(const std::string& line)> log;
  // Hears of SIGINT and SIGTERM, in the server's thread; without it they do what they did.
  std::function<void(int signal)> on_signal;
};

class HttpServer {
 public:
  // Listens on 127.0.0.1; port 0: any that is free. Throws IoError when the port cannot be had.
  HttpServer(int port, const HttpLimits& limits, HttpHooks hooks);
  ~HttpServer();
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  int port() const;
  void start();
  // Takes no more connections, gives the answers on their way so long to be sent, and ends the thread.
  void stop(std::chrono::milliseconds patience);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace mora
