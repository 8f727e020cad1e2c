// What a client can send that it should not: each is answered with one clean error, and the server goes on.
#include <gtest/gtest.h>

#include "engine/random.h"
#include "serving/running_server.h"

namespace mora {
namespace {

using nlohmann::json;
using test::converse;
using test::post;
using test::Reply;
using test::request_text;

const json text_body = {{"model", "base"}, {"prompt", "One two three"}, {"max_tokens", 2}, {"temperature", 0}};
const json chat_body = {{"model", "base"}, {"messages", {{{"role", "user"}, {"content", "Hi"}}}}, {"max_tokens", 2}};

class Malformed : public test::RunningServer {};

TEST_F(Malformed, EachWrongFieldIsNamed) {
  start({.http = {.body_bytes = 100000}});
  struct Case {
    const char* path;
    json change;  // merged into a good body (null takes a member away)
    int status;
    const char* says;
  };
  const char *chat = "/v1/chat/completions", *text = "/v1/completions", *vector = "/v1/embeddings";
  const Case cases[] = {
      {chat, {{"model", "gpt-4"}}, 404, "the model 'gpt-4' does not exist here; there is base"},
      {chat, {{"model", nullptr}}, 400, "the request: model is missing"},
      {chat, {{"model", 3}}, 400, "model: expected a string, got 3"},
      {chat, {{"messages", nullptr}}, 400, "messages is missing"},
      {chat, {{"messages", json::array()}}, 400, "messages: expected an array of messages, got an empty one"},
      {chat, {{"messages", "Hi"}}, 400, "messages: expected an array"},
      {chat, {{"messages", {1}}}, 400, "messages[0]: expected an object, got 1"},
      {chat,
       {{"messages", {{{"role", "robot"}, {"content", ""}}}}},
       400,
       "'robot': expected system, user or assistant"},
      {chat, {{"messages", {{{"role", "user"}, {"content", 5}}}}}, 400, "content: expected a string or an array"},
      {chat,
       {{"messages", {{{"role", "user"}, {"content", {{{"type", "image_url"}}}}}}}},
       400,
       "only parts of type 'text'"},
      {chat, {{"temperature", 3}}, 400, "temperature: expected a number from 0 to 2, got 3"},
      {chat, {{"temperature", "hot"}}, 400, "temperature: expected a number, got the string 'hot'"},
      {chat, {{"top_p", 0}}, 400, "top_p: 0, expected above 0"},
      {chat, {{"n", 0}}, 400, "n: expected an integer from 1 to 16"},
      {chat, {{"stream", "yes"}}, 400, "stream: expected true or false"},
      {chat, {{"stop", {"a", "b", "c", "d", "e"}}}, 400, "stop: 5 strings, at most 4"},
      {chat, {{"stop", ""}}, 400, "stop: an empty string"},
      {chat, {{"tools", {{{"type", "function"}}}}}, 400, "tools: this server does not do that"},
      {chat, {{"logprobs", true}}, 400, "logprobs: this server does not do that"},
      {chat, {{"temprature", 1}}, 400, "'temprature': no such parameter; did you mean 'temperature'?"},
      {chat, {{"max_tokens", 0}}, 400, "max_tokens: expected an integer from 1"},
      {chat, {{"max_tokens", 512}}, 400, "max_tokens 512 are more than the 512"},
      {text, {{"prompt", ""}}, 400, "no tokens"},
      {text, {{"prompt", {{"a", 1}}}}, 400, "prompt: expected a string or tokens, got an object"},
      {text, {{"prompt", {1, 2, 49152}}}, 400, "prompt: expected an integer from 0 to 49151, got 49152"},
      {text, {{"prompt", {1, "two"}}}, 400, "prompt: expected an integer, got the string 'two'"},
      {text, {{"prompt", std::string(5000, 'a')}}, 400, "the prompt: "},
      {vector, {{"input", nullptr}}, 400, "input is missing"},
      {vector, {{"encoding_format", "hex"}}, 400, "encoding_format: 'hex': expected float or base64"},
      {vector, {{"dimensions", 8}}, 400, "'dimensions': no such parameter"},
  };
  for (const Case& c : cases) {
    json body = c.path == chat ? chat_body : c.path == text ? text_body : json{{"model", "base"}, {"input", "x"}};
    body.merge_patch(c.change);
    const Reply reply = post(port(), c.path, body);
    EXPECT_EQ(reply.status, c.status) << c.says << ": " << reply.body;
    EXPECT_NE(reply.error().find(c.says), std::string::npos) << c.says << ": " << reply.body;
    EXPECT_EQ(reply.json()["error"]["type"], "invalid_request_error");
  }
  json neutral = chat_body;  // asks for nothing that is not done
  neutral.update({{"frequency_penalty", 0.0}, {"logprobs", false}, {"user", "me"}, {"stop", nullptr}});
  EXPECT_EQ(post(port(), chat, neutral).status, 200);
}

TEST_F(Malformed, EachWrongHttpIsRefused) {
  start({.http = {.body_bytes = 100000}});
  const std::string good = request_text("POST", "/v1/completions", text_body.dump());
  const auto replaced = [&](const std::string& from, const std::string& to) {
    std::string text = good;
    return text.replace(text.find(from), from.size(), to);
  };
  const std::pair<std::string, int> cases[] = {
      {"nonsense\r\n\r\n", 400},
      {"GET /v1/models HTTP/9.9\r\n\r\n", 400},
      {"GET /v1/models HTTP/1.1\r\nno colon\r\n\r\n", 400},
      {"GET /v1/models HTTP/1.1\r\nX: " + std::string(20000, 'x') + "\r\n\r\n", 431},
      {request_text("POST", "/v1/completions", std::string(100001, ' ')), 413},
      {"POST /v1/completions HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n20000\r\n" + std::string(0x20000, ' '), 413},
      {"POST /v1/completions HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n", 400},
      {"POST /v1/completions HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400},
      {replaced("localhost", "evil.example"), 403},
      {replaced("application/json", "text/plain"), 415},
      {replaced("POST", "PUT"), 405},
      {replaced("/v1/completions", "/v2/completions"), 404},
      {request_text("GET", "/v1/models/none", ""), 404},
      {request_text("POST", "/v1/completions", ""), 400},
      {request_text("POST", "/v1/completions", "{\"model\": \"base\", \"model\": \"base\"}"), 400},
      {request_text("POST", "/v1/completions", std::string(90000, '[')), 400},
      {request_text("POST", "/v1/completions", "{\"model\": \"\xff\xfe\"}"), 400},
  };
  for (const auto& [bytes, status] : cases) {
    const Reply reply = converse(port(), bytes);
    EXPECT_EQ(reply.status, status) << bytes.substr(0, 80) << "\n" << reply.body;
    EXPECT_FALSE(reply.error().empty()) << reply.body;
  }
  test::Connection patient(port());  // curl's way with a long body
  patient.send(replaced("\r\n\r\n", "\r\nExpect: 100-continue\r\n\r\n").substr(0, good.find("\r\n\r\n") + 26));
  EXPECT_EQ(patient.read_until("\r\n\r\n"), "HTTP/1.1 100 Continue\r\n\r\n");
  patient.send(text_body.dump());
  EXPECT_NE(patient.read_until().find("200 OK"), std::string::npos);
}

// A good request with bytes changed, cut, doubled or put in.
std::string mutated(const std::string& good, const RandomStream& random) {
  std::string text = good;
  uint64_t draw = 0;
  const auto below = [&](size_t n) { return size_t(random.uniform(draw++) * float(n)); };
  for (size_t edits = 1 + below(4); edits > 0 && !text.empty(); --edits) {
    const size_t at = below(text.size());
    switch (below(4)) {
      case 0: text[at] = char(below(256)); break;
      case 1: text.erase(at, 1 + below(8)); break;
      case 2: text.insert(at, text.substr(below(text.size()), below(20))); break;
      default: text.insert(at, 1, "{}[]\",:0\\\r\n"[below(11)]);
    }
  }
  return text;
}

TEST_F(Malformed, AThousandRequestsLeaveTheServerAnswering) {
  start({.http = {.body_bytes = 100000, .request = std::chrono::seconds(1)}});
  std::map<int, int> statuses;
  for (uint64_t i = 0; i < 1000; ++i) {
    const RandomStream random({.seed = 11, .layer = i});
    const json& body = i % 2 ? text_body : chat_body;
    const char* path = i % 2 ? "/v1/completions" : "/v1/chat/completions";
    if (i % 4 < 2) {  // the body alone, in good HTTP
      ++statuses[converse(port(), request_text("POST", path, mutated(body.dump(), random))).status];
    } else {  // all of it; whoever lacks an end of it is not waited for
      test::Connection connection(port());
      connection.send(mutated(request_text("POST", path, body.dump()), random));
    }
  }
  EXPECT_EQ(statuses[0], 0) << "some have no answer";
  EXPECT_EQ(statuses[500], 0);
  EXPECT_GT(statuses[400], 300);
  EXPECT_TRUE(is_idle_soon());
  const Reply reply = post(port(), "/v1/completions", text_body);
  EXPECT_EQ(reply.status, 200) << reply.body;
}

TEST_F(Malformed, WhoSendsNothingDoesNotHoldTheConnectionsOfOthers) {
  start({.http = {.connections = 4, .request = std::chrono::seconds(1)}});
  std::vector<std::unique_ptr<test::Connection>> silent;
  for (int i = 0; i < 8; ++i) silent.push_back(std::make_unique<test::Connection>(port()));
  silent[0]->send("GET /v1/models HTTP/1.1\r\n");
  EXPECT_EQ(test::get(port(), "/v1/models").status, 200);  // accepted when the first four are given up
}

}  // namespace
}  // namespace mora
