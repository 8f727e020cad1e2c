// Talks to a server of this process: one request a connection, over a plain socket.
#pragma once

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace mora::test {

struct Reply {
  int status = 0;  // 0: the server closed without an answer
  std::string head, body;
  nlohmann::json json() const { return nlohmann::json::parse(body, nullptr, false); }
  std::string error() const { return json().value("/error/message"_json_pointer, ""); }
};

class Connection {
 public:
  explicit Connection(int port) : socket_(::socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(uint16_t(port));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(::connect(socket_, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
  }
  ~Connection() { ::close(socket_); }
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  void send(const std::string& bytes) const {
    for (size_t sent = 0; sent < bytes.size();) {
      const ssize_t n = ::send(socket_, bytes.data() + sent, bytes.size() - sent, MSG_NOSIGNAL);
      if (n <= 0) return;  // the server has had enough
      sent += size_t(n);
    }
  }
  // Until `end` has come, or the server closes.
  std::string read_until(const std::string& end = "") {
    char buffer[4096];
    while (end.empty() || read_.find(end) == std::string::npos) {
      const ssize_t n = ::recv(socket_, buffer, sizeof(buffer), 0);
      if (n <= 0) break;
      read_.append(buffer, size_t(n));
    }
    return read_;
  }

 private:
  int socket_;
  std::string read_;
};

inline std::string request_text(const std::string& method, const std::string& path, const std::string& body) {
  return method + " " + path + " HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: " +
         std::to_string(body.size()) + "\r\n\r\n" + body;
}

// The answer in `text`, chunks joined.
inline Reply parse_reply(const std::string& text) {
  Reply reply;
  const size_t end = text.find("\r\n\r\n");
  if (!text.starts_with("HTTP/1.") || end == std::string::npos) return reply;
  reply.status = std::stoi(text.substr(9, 3));
  reply.head = text.substr(0, end);
  reply.body = text.substr(end + 4);
  if (reply.head.find("Transfer-Encoding: chunked") == std::string::npos) return reply;
  std::string joined;
  for (size_t at = 0; at < reply.body.size();) {
    const size_t line = reply.body.find("\r\n", at);
    const size_t size = std::stoul(reply.body.substr(at, line - at), nullptr, 16);
    if (size == 0) break;
    joined += reply.body.substr(line + 2, size);
    at = line + 2 + size + 2;
  }
  reply.body = joined;
  return reply;
}

inline Reply converse(int port, const std::string& bytes) {
  Connection connection(port);
  connection.send(bytes);
  return parse_reply(connection.read_until());
}
inline Reply get(int port, const std::string& path) { return converse(port, request_text("GET", path, "")); }
inline Reply post(int port, const std::string& path, const nlohmann::json& body) {
  return converse(port, request_text("POST", path, body.dump()));
}

// The objects of "data: …" lines; "[DONE]" as a string.
inline std::vector<nlohmann::json> events(const Reply& reply) {
  std::vector<nlohmann::json> list;
  for (size_t at = 0; at < reply.body.size();) {
    const size_t end = reply.body.find("\n\n", at);
    const std::string data = reply.body.substr(at + 6, end - at - 6);
    EXPECT_EQ(reply.body.substr(at, 6), "data: ");
    list.push_back(data == "[DONE]" ? nlohmann::json(data) : nlohmann::json::parse(data));
    at = end == std::string::npos ? end : end + 2;
  }
  return list;
}

}  // namespace mora::test
