#include "mora/serving/http_server.h"

#include <array>
#include <boost/asio.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <future>
#include <set>
#include <sstream>
#include <thread>

#include "engine/error.h"

namespace mora {
namespace {

namespace net = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
using tcp = net::ip::tcp;
using boost::system::error_code;
using Clock = std::chrono::steady_clock;

constexpr std::chrono::seconds kLinger{2};  // for a client to read its answer and close

// A page of another site must not reach the server through a name of its own that leads to 127.0.0.1.
bool is_loopback_name(std::string_view host) {
  if (const size_t colon = host.rfind(':'); colon != std::string_view::npos && !host.ends_with("]"))
    host = host.substr(0, colon);
  return host.empty() || host == "127.0.0.1" || host == "localhost" || host == "[::1]";
}

struct Shared;

// One connection. All of it but the functions of Exchange runs in the server's thread.
class Session final : public Exchange, public std::enable_shared_from_this<Session> {
 public:
  Session(Shared& shared, tcp::socket socket);
  ~Session() override;

  void read();
  void stop();  // the server ends: nothing is read any more

  void answer(HttpAnswer answer) override;
  void begin_events() override;
  void send_event(std::string_view line) override;
  void end_events() override;

 private:
  void read_body();
  void handle();
  std::shared_ptr<Exchange> handle_for_others();
  void on_read_error(error_code error);
  void refuse(int status, const std::string& why) { send({.status = status, .body = error_body(status, why)}); }
  std::string error_body(int status, const std::string& why) const;
  void send(const HttpAnswer& answer);
  template <class Body>
  http::response<Body> response(int status, std::string_view content_type);
  void watch();
  void push(const std::string& bytes);
  void flush();
  void finish();
  void close();
  void set_deadline(std::chrono::seconds seconds);
  void set_no_deadline() { deadline_.expires_at(Clock::time_point::max()); }
  template <class F>
  void post(F f) {
    net::post(socket_.get_executor(), [self = shared_from_this(), f = std::move(f)]() mutable { f(*self); });
  }

  Shared& shared_;
  tcp::socket socket_;
  net::steady_timer deadline_;
  beast::flat_buffer buffer_;
  http::request_parser<http::string_body> parser_;
  std::array<char, 512> discarded_{};
  std::string pending_, in_flight_;  // to be written, being written
  Clock::time_point start_ = Clock::now();
  int status_ = 0;                                         // of the answer that has begun
  bool handed_over_ = false, watched_ = false;             // a request is with the handler; reads for the client's end
  bool writing_ = false, ending_ = false, ended_ = false;  // ending: nothing follows `pending_`; ended: all is written
};

struct Shared {
  explicit Shared(const HttpLimits& l, HttpHooks h) : limits(l), hooks(std::move(h)) {}
  void accept();
  void stop();

  HttpLimits limits;
  HttpHooks hooks;
  std::set<Session*> sessions;
  bool accepting = false, stopped = false;
  net::io_context io{1};  // holds the sessions' handlers, and these the sessions: goes before the above
  tcp::acceptor acceptor{io};
  net::signal_set signals{io};
  net::steady_timer pause{io};
};

Session::Session(Shared& shared, tcp::socket socket)
    : shared_(shared), socket_(std::move(socket)), deadline_(shared.io) {
  shared_.sessions.insert(this);
  parser_.header_limit(uint32_t(shared.limits.header_bytes));
  parser_.body_limit(shared.limits.body_bytes);
}

Session::~Session() {
  shared_.sessions.erase(this);
  shared_.accept();
}

std::string Session::error_body(int status, const std::string& why) const {
  return shared_.hooks.error_body(status, why);
}

void Session::read() {
  set_deadline(shared_.limits.request);
  http::async_read_header(socket_, buffer_, parser_, [self = shared_from_this()](error_code error, size_t) {
    if (error) return self->on_read_error(error);
    const auto host = self->parser_.get()[http::field::host];
    if (!is_loopback_name({host.data(), host.size()}))
      return self->refuse(403, "Host: this server answers to localhost and 127.0.0.1 alone");
    if (beast::iequals(self->parser_.get()[http::field::expect], "100-continue"))
      self->push("HTTP/1.1 100 Continue\r\n\r\n");
    self->read_body();
  });
}

void Session::read_body() {
  http::async_read(socket_, buffer_, parser_, [self = shared_from_this()](error_code error, size_t) {
    if (error) return self->on_read_error(error);
    self->set_no_deadline();
    self->handle();
  });
}

void Session::handle() {
  handed_over_ = true;
  watch();
  auto& message = parser_.get();
  const auto text = [](auto view) { return std::string(view.data(), view.size()); };
  HttpRequest request{.method = text(message.method_string()),
                      .path = text(message.target().substr(0, message.target().find('?'))),
                      .content_type = text(message[http::field::content_type]),
                      .body = std::move(message.body())};
  try {
    shared_.hooks.handle(request, handle_for_others());
  } catch (const std::exception& error) {
    refuse(500, error.what());
  }
}

// Whoever lets go of it last, the session ends in the server's thread.
std::shared_ptr<Exchange> Session::handle_for_others() {
  return {this, [self = shared_from_this()](Exchange*) mutable {
            const auto executor = self->socket_.get_executor();
            net::post(executor, [last = std::move(self)] {});
          }};
}

void Session::on_read_error(error_code error) {
  if (error == http::error::body_limit)
    return refuse(413, fmt::format("the body is longer than {} bytes", shared_.limits.body_bytes));
  if (error == http::error::header_limit)
    return refuse(431, fmt::format("the headers are longer than {} bytes", shared_.limits.header_bytes));
  const bool is_malformed = error.category() == make_error_code(http::error::bad_method).category() &&
                            error != http::error::end_of_stream && error != http::error::partial_message;
  if (is_malformed) return refuse(400, "not HTTP: " + error.message());
  close();
}

void Session::answer(HttpAnswer answer) {
  post([answer = std::move(answer)](Session& s) { s.send(answer); });
}

void Session::begin_events() {
  post([](Session& s) {
    if (s.status_ != 0) return;
    auto head = s.response<http::empty_body>(200, "text/event-stream");
    head.set(http::field::cache_control, "no-cache");
    head.chunked(s.parser_.get().version() >= 11);
    std::ostringstream text;
    text << head.base();
    s.push(text.str());
  });
}

void Session::send_event(std::string_view line) {
  post([event = fmt::format("data: {}\n\n", line)](Session& s) {
    if (s.ending_) return;
    s.push(s.parser_.get().version() >= 11 ? fmt::format("{:x}\r\n{}\r\n", event.size(), event) : event);
  });
}

void Session::end_events() {
  post([](Session& s) {
    if (s.ending_) return;
    s.ending_ = true;
    s.push(s.parser_.get().version() >= 11 ? "0\r\n\r\n" : "");
  });
}

template <class Body>
http::response<Body> Session::response(int status, std::string_view content_type) {
  status_ = status;
  http::response<Body> head{http::status(status), parser_.get().version() >= 11 ? 11u : 10u};
  head.set(http::field::server, "mora");
  head.set(http::field::content_type, beast::string_view(content_type.data(), content_type.size()));
  head.set(http::field::connection, "close");
  return head;
}

void Session::send(const HttpAnswer& answer) {
  if (status_ != 0) return;
  auto message = response<http::string_body>(answer.status, "application/json");
  if (!answer.allow.empty()) message.set(http::field::allow, answer.allow);
  if (answer.retry_after > 0) message.set(http::field::retry_after, std::to_string(answer.retry_after));
  message.body() = answer.body;
  message.prepare_payload();
  std::ostringstream text;
  text << message;
  ending_ = true;
  push(text.str());
}

// Reads on, and lets go what comes, to hear when the client closes.
void Session::watch() {
  watched_ = true;
  socket_.async_read_some(net::buffer(discarded_), [self = shared_from_this()](error_code error, size_t) {
    if (error) return self->close();
    self->watch();
  });
}

void Session::push(const std::string& bytes) {
  if (!socket_.is_open()) return;
  pending_ += bytes;
  if (!writing_) flush();
}

void Session::flush() {
  writing_ = true;
  std::swap(in_flight_, pending_);
  if (status_ != 0) set_deadline(shared_.limits.write);  // before there is an answer, the request's goes on
  net::async_write(socket_, net::buffer(in_flight_), [self = shared_from_this()](error_code error, size_t) {
    Session& s = *self;
    s.writing_ = false;
    s.in_flight_.clear();
    if (error) return s.close();
    if (!s.pending_.empty()) return s.flush();
    if (s.status_ != 0) s.set_no_deadline();
    if (s.ending_) s.finish();
  });
}

// To close at once, with something unread, would reset the connection and might take the answer from the client.
void Session::finish() {
  if (ended_) return;
  ended_ = true;
  const auto view = [](auto text) { return std::string_view(text.data(), text.size()); };
  const std::chrono::duration<double> seconds = Clock::now() - start_;
  shared_.hooks.log(fmt::format("{} {} {}, {:.2f} s", view(parser_.get().method_string()), view(parser_.get().target()),
                                status_, seconds.count()));
  error_code ignored;
  socket_.shutdown(tcp::socket::shutdown_send, ignored);
  set_deadline(kLinger);
  if (!watched_) watch();
}

void Session::close() {
  open_ = false;
  set_no_deadline();
  error_code ignored;
  socket_.close(ignored);
}

void Session::stop() {
  if (!handed_over_) close();
}

void Session::set_deadline(std::chrono::seconds seconds) {
  deadline_.expires_after(seconds);
  deadline_.async_wait([self = shared_from_this()](error_code error) {
    if (!error && self->deadline_.expiry() <= Clock::now()) self->close();
  });
}

void Shared::accept() {
  if (accepting || stopped || sessions.size() >= limits.connections) return;
  accepting = true;
  acceptor.async_accept([this](error_code error, tcp::socket socket) {
    accepting = false;
    if (error == net::error::operation_aborted) return;
    if (!error) {
      std::make_shared<Session>(*this, std::move(socket))->read();
      return accept();
    }
    pause.expires_after(std::chrono::milliseconds(100));  // no file descriptor is free
    pause.async_wait([this](error_code aborted) {
      if (!aborted) accept();
    });
  });
}

void Shared::stop() {
  stopped = true;
  error_code ignored;
  acceptor.close(ignored);
  signals.cancel(ignored);
  pause.cancel();
  const std::set<Session*> all = sessions;
  for (Session* session : all) session->stop();
}

}  // namespace

struct HttpServer::Impl : Shared {
  using Shared::Shared;
  std::thread thread;
  std::future<void> ended;
};

HttpServer::HttpServer(int port, const HttpLimits& limits, HttpHooks hooks)
    : impl_(std::make_unique<Impl>(limits, std::move(hooks))) {
  try {
    const tcp::endpoint here(net::ip::address_v4::loopback(), uint16_t(port));
    impl_->acceptor.open(here.protocol());
    impl_->acceptor.set_option(net::socket_base::reuse_address(true));
    impl_->acceptor.bind(here);
    impl_->acceptor.listen();
  } catch (const boost::system::system_error& error) {
    fail<IoError>("--port {}: {}", port, error.code().message());
  }
}

HttpServer::~HttpServer() { stop(std::chrono::milliseconds(0)); }

int HttpServer::port() const { return impl_->acceptor.local_endpoint().port(); }

void HttpServer::start() {
  Impl& s = *impl_;
  if (s.hooks.on_signal) {
    s.signals.add(SIGINT);
    s.signals.add(SIGTERM);
    s.signals.async_wait([&s](error_code error, int signal) {
      if (error) return;
      s.signals.clear();  // a second one ends the process at once
      s.hooks.on_signal(signal);
    });
  }
  s.accept();
  std::packaged_task<void()> task([&s] {
    while (true) {
      try {
        s.io.run();
        return;
      } catch (const std::exception& error) {  // no memory: that connection is lost, the others go on
        s.hooks.log(error.what());
      }
    }
  });
  s.ended = task.get_future();
  s.thread = std::thread(std::move(task));
}

void HttpServer::stop(std::chrono::milliseconds patience) {
  Impl& s = *impl_;
  if (!s.thread.joinable()) return;
  net::post(s.io, [&s] { s.stop(); });
  s.ended.wait_for(patience);  // without connections the thread runs out of work
  s.io.stop();
  s.thread.join();
  s.stopped = true;  // also where nobody was patient enough for the above to run
}

}  // namespace mora
