// OpenAI's API over the wire, on SmolLM2 and MiniLM.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "serving/running_server.h"

namespace mora {
namespace {

using nlohmann::json;
using test::events;
using test::get;
using test::post;
using test::Reply;

constexpr const char *kChat = "/v1/chat/completions", *kCompletions = "/v1/completions",
                     *kEmbeddings = "/v1/embeddings";

json completion(const std::string& prompt, int64_t tokens, const std::string& model = "base") {
  return {{"model", model}, {"prompt", prompt}, {"max_tokens", tokens}, {"temperature", 0}};
}
json question() {
  return {{"model", "base"},
          {"messages", {{{"role", "user"}, {"content", "Name three colours."}}}},
          {"max_tokens", 16},
          {"temperature", 0}};
}

class Serving : public test::RunningServer {
 protected:
  // A text that is being written and has no end before its context's.
  std::unique_ptr<test::Connection> endless() const {
    auto connection = std::make_unique<test::Connection>(port());
    json body = completion("Once upon a time", 500);
    body["stream"] = true;
    body["temperature"] = 2;  // no end token among so many others
    body["seed"] = 1;
    connection->send(test::request_text("POST", kCompletions, body.dump()));
    connection->read_until("data: ");
    return connection;
  }
};

TEST_F(Serving, ACompletionIsWhatGenerateWrites) {
  const std::string prompt = "The capital of France is", expected = generated(prompt, 12);
  start();
  const Reply reply = post(port(), kCompletions, completion(prompt, 12));
  ASSERT_EQ(reply.status, 200) << reply.body;
  const json body = reply.json();
  EXPECT_EQ(body["object"], "text_completion");
  EXPECT_EQ(body["model"], "base");
  EXPECT_EQ(body["choices"][0]["text"], expected);
  EXPECT_EQ(body["choices"][0]["finish_reason"], "length");
  EXPECT_EQ(body["usage"], json::parse(R"({"prompt_tokens": 5, "completion_tokens": 12, "total_tokens": 17})"));

  json several = completion("", 12);
  several["prompt"] = {prompt, "2 + 2 ="};
  several["n"] = 2;
  const json choices = post(port(), kCompletions, several).json()["choices"];
  ASSERT_EQ(choices.size(), 4u);  // of the first prompt, then of the second
  EXPECT_EQ(choices[0]["text"], expected);
  EXPECT_EQ(choices[1]["text"], expected);
  EXPECT_EQ(choices[3]["index"], 3);
  EXPECT_EQ(choices[2]["text"], choices[3]["text"]);

  json stopped = completion(prompt, 12);
  const std::string stop = expected.substr(expected.size() / 2, 3);
  stopped["stop"] = stop;
  const json choice = post(port(), kCompletions, stopped).json()["choices"][0];
  EXPECT_EQ(choice["text"], expected.substr(0, expected.find(stop)));
  EXPECT_EQ(choice["finish_reason"], "stop");
}

TEST_F(Serving, AStreamSaysWhatTheWholeAnswerSays) {
  start();
  json body = question();
  const Reply whole = post(port(), kChat, body);
  ASSERT_EQ(whole.status, 200) << whole.body;
  EXPECT_EQ(whole.json()["object"], "chat.completion");
  const json message = whole.json()["choices"][0]["message"];
  EXPECT_EQ(message["role"], "assistant");
  EXPECT_FALSE(message["content"].get<std::string>().empty());

  body["stream"] = true;
  body["stream_options"] = {{"include_usage", true}};
  const Reply reply = post(port(), kChat, body);
  EXPECT_NE(reply.head.find("Content-Type: text/event-stream"), std::string::npos) << reply.head;
  const std::vector<json> said = events(reply);
  ASSERT_GT(said.size(), 5u);
  std::string text;
  for (size_t i = 0; i + 2 < said.size(); ++i) {
    EXPECT_EQ(said[i]["object"], "chat.completion.chunk");
    EXPECT_EQ(said[i]["id"], said[0]["id"]);
    text += said[i]["choices"][0]["delta"].value("content", "");
  }
  EXPECT_EQ(text, message["content"]);
  EXPECT_EQ(said[0]["choices"][0]["delta"]["role"], "assistant");
  EXPECT_EQ(said[said.size() - 3]["choices"][0]["finish_reason"], whole.json()["choices"][0]["finish_reason"]);
  EXPECT_EQ(said[said.size() - 2]["usage"], whole.json()["usage"]);
  EXPECT_EQ(said.back(), "[DONE]");

  test::Connection old(port());  // without chunks
  const std::string text10 = body.dump();
  old.send("POST /v1/chat/completions HTTP/1.0\r\nContent-Type: application/json\r\nContent-Length: " +
           std::to_string(text10.size()) + "\r\n\r\n" + text10);
  const Reply plain = test::parse_reply(old.read_until());
  EXPECT_EQ(plain.head.find("chunked"), std::string::npos);
  EXPECT_EQ(events(plain).size(), said.size());
}

TEST_F(Serving, TheSeedDecidesWhatIsDrawn) {
  start();
  json body = completion("Once upon a time", 16);
  body["temperature"] = 1;
  body["n"] = 2;
  const auto texts = [&](int64_t seed) {
    body["seed"] = seed;
    const json choices = post(port(), kCompletions, body).json()["choices"];
    return std::vector<std::string>{choices[0]["text"], choices[1]["text"]};
  };
  const auto once = texts(7);
  EXPECT_EQ(texts(7), once);
  EXPECT_NE(texts(8), once);
  EXPECT_NE(once[0], once[1]);
}

TEST_F(Serving, AdaptersOfOneBatchAnswerAsEachDoesAlone) {
  const std::string prompt = "The old lighthouse stood";
  const std::string first = adapter("first", {.kind = AdapterSpec::Kind::mora, .rank = 4}),
                    second = adapter("second", {.kind = AdapterSpec::Kind::lora, .rank = 4});
  const std::map<std::string, std::string> expected = {
      {"base", generated(prompt, 24)}, {"one", generated(prompt, 24, first)}, {"two", generated(prompt, 24, second)}};
  EXPECT_NE(expected.at("one"), expected.at("two"));
  EXPECT_NE(expected.at("one"), expected.at("base"));
  start({}, test::smollm2, {{"one", first}, {"two", second}});
  const json models = get(port(), "/v1/models").json();
  ASSERT_EQ(models["data"].size(), 3u);
  EXPECT_EQ(models["data"][2]["id"], "two");
  EXPECT_EQ(get(port(), "/v1/models/one").json()["id"], "one");

  const auto endless_text = endless();  // the batch goes on while the others join and leave
  std::vector<std::thread> clients;
  std::map<std::string, std::vector<std::string>> answers = {{"base", {}}, {"one", {}}, {"two", {}}};
  for (auto& [model, texts] : answers) {
    clients.emplace_back([&, name = model] {
      for (int i = 0; i < 2; ++i) {
        const Reply reply = post(port(), kCompletions, completion(prompt, 24, name));
        texts.push_back(reply.status == 200 ? reply.json()["choices"][0]["text"].get<std::string>() : reply.body);
      }
    });
  }
  EXPECT_TRUE(wait_for([](const Scheduler::Load& load) { return load.running == 4; })) << "they are not batched";
  for (std::thread& client : clients) client.join();
  for (const auto& [model, texts] : answers)
    EXPECT_EQ(texts, (std::vector<std::string>{expected.at(model), expected.at(model)})) << model;
}

TEST_F(Serving, AClientThatLeavesFreesItsSlot) {
  start({.scheduler = {.slots = 1, .queue = 4}});
  auto running = endless();
  EXPECT_EQ(load().running, 1u);
  auto waiting = std::make_unique<test::Connection>(port());
  waiting->send(test::request_text("POST", kCompletions, completion("Never", 4).dump()));
  EXPECT_TRUE(wait_for([](const Scheduler::Load& load) { return load.waiting == 1; }));
  waiting.reset();
  EXPECT_TRUE(wait_for([](const Scheduler::Load& load) { return load.waiting == 0; })) << "it waits for nobody";
  EXPECT_EQ(load().running, 1u);
  running.reset();
  EXPECT_TRUE(is_idle_soon());
  EXPECT_EQ(post(port(), kCompletions, completion("After", 4)).status, 200);
}

TEST_F(Serving, TheQueueIsBounded) {
  start({.scheduler = {.slots = 1, .queue = 2}});
  auto running = endless();
  std::vector<std::thread> clients;
  std::vector<int> statuses(2);
  for (int& status : statuses)
    clients.emplace_back([&] { status = post(port(), kCompletions, completion("Later", 4)).status; });
  ASSERT_TRUE(wait_for([](const Scheduler::Load& load) { return load.waiting == 2; }));
  const Reply refused = post(port(), kCompletions, completion("Too many", 4));
  EXPECT_EQ(refused.status, 503);
  EXPECT_NE(refused.head.find("Retry-After: 1"), std::string::npos) << refused.head;
  EXPECT_EQ(refused.json()["error"]["code"], "overloaded");
  running.reset();
  for (std::thread& client : clients) client.join();
  EXPECT_EQ(statuses, (std::vector<int>{200, 200}));
}

TEST_F(Serving, WhoStillWaitsHearsOfTheEnd) {
  start({.scheduler = {.slots = 1, .queue = 2}});
  auto running = endless();
  test::Connection waiting(port());
  waiting.send(test::request_text("POST", kCompletions, completion("Later", 4).dump()));
  ASSERT_TRUE(wait_for([](const Scheduler::Load& load) { return load.waiting == 1; }));
  std::thread reader([&] {
    const std::vector<json> said = events(test::parse_reply(running->read_until()));
    EXPECT_EQ(said.back()["error"]["message"], "the server is shutting down");
    EXPECT_EQ(test::parse_reply(waiting.read_until()).status, 500);
  });
  stop();
  reader.join();
}

TEST_F(Serving, EmbeddingsAreUnitVectorsOfTheWholeBatch) {
  const std::vector<std::string> texts = {"a bright day", "the sun is out", "tax forms are due in April this year"};
  const std::string trained = adapter("trained", {.kind = AdapterSpec::Kind::mora, .rank = 4}, test::minilm);
  start({}, test::minilm, {{"trained", trained}});
  const json reply = post(port(), kEmbeddings, {{"model", "base"}, {"input", texts}}).json();
  ASSERT_EQ(reply["data"].size(), 3u) << reply;
  std::vector<std::vector<float>> vectors;
  for (const json& one : reply["data"]) vectors.push_back(one["embedding"]);
  const auto cosine = [](const std::vector<float>& a, const std::vector<float>& b) {
    return std::inner_product(a.begin(), a.end(), b.begin(), 0.0);
  };
  for (const auto& v : vectors) EXPECT_NEAR(cosine(v, v), 1, 1e-5);
  EXPECT_GT(cosine(vectors[0], vectors[1]), cosine(vectors[0], vectors[2]) + 0.2);

  MoRAModel opened(load_model(test::minilm));
  load_adapter(trained, opened);
  const std::vector<int32_t> ids = load_tokenizer(test::minilm).encode(texts[2]);
  std::vector<int32_t> positions(ids.size());
  std::iota(positions.begin(), positions.end(), 0);
  const Shape rows{std::ssize(ids)};
  const Sequences alone{.ids = Tensor::from(ids, rows),
                        .positions = Tensor::from(positions, rows),
                        .offsets = Tensor::from(std::vector<int32_t>{0, int32_t(ids.size())}, {2})};
  const NoGrad no_grad;
  Context context;
  const Tensor pooled = opened.base().pooled(alone, Pooling::mean, context);
  std::vector<float> expected(pooled.values<float>().begin(), pooled.values<float>().end());
  const double length = std::sqrt(cosine(expected, expected));
  json one = {{"model", "trained"}, {"input", texts[2]}, {"encoding_format", "base64"}};
  const std::string coded = post(port(), kEmbeddings, one).json()["data"][0]["embedding"];
  EXPECT_EQ(coded.size(), (expected.size() * 4 + 2) / 3 * 4);
  one.erase("encoding_format");
  const std::vector<float> got = post(port(), kEmbeddings, one).json()["data"][0]["embedding"];
  EXPECT_NEAR(cosine(got, expected) / length, 1, 1e-5);
  EXPECT_LT(cosine(got, vectors[2]), 0.999) << "the adapter does nothing";
  const Reply chat = post(port(), kChat, {{"model", "base"}, {"messages", json::array()}});
  EXPECT_EQ(chat.status, 400);
  EXPECT_NE(chat.error().find("no language model"), std::string::npos) << chat.body;
}

}  // namespace
}  // namespace mora
