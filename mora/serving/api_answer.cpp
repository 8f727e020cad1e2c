#include "mora/serving/api_answer.h"

#include <algorithm>
#include <bit>
#include <chrono>
#include <cstring>
#include <nlohmann/json.hpp>
#include <random>

#include "loaders/quote.h"
#include "mora/serving/stop_strings.h"

namespace mora {
namespace {

using Json = nlohmann::ordered_json;

int64_t now() { return std::chrono::system_clock::to_time_t(std::chrono::system_clock::now()); }

std::string fresh_id(std::string_view prefix) {
  std::random_device random;
  return fmt::format("{}-{:08x}{:08x}{:08x}", prefix, random(), random(), random());
}

std::string dump(const Json& json) { return json.dump(-1, ' ', false, Json::error_handler_t::replace); }

Json model_object(const std::string& name, int64_t created) {
  return {{"id", name}, {"object", "model"}, {"created", created}, {"owned_by", "mora"}};
}

// Little-endian floats, RFC 4648.
std::string base64(std::span<const float> values) {
  static_assert(std::endian::native == std::endian::little);
  constexpr std::string_view digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string bytes(values.size() * sizeof(float), '\0'), text;
  std::memcpy(bytes.data(), values.data(), bytes.size());
  for (size_t i = 0; i < bytes.size(); i += 3) {
    const size_t count = std::min<size_t>(3, bytes.size() - i);
    uint32_t group = 0;
    for (size_t j = 0; j < 3; ++j) group = group << 8 | (j < count ? uint8_t(bytes[i + j]) : 0u);
    for (size_t j = 0; j < 4; ++j) text += j <= count ? digits[group >> (18 - 6 * j) & 63] : '=';
  }
  return text;
}

class TextAnswer final : public TextClient {
 public:
  TextAnswer(const TextQuery& query, const ServedModel& served, std::shared_ptr<Exchange> exchange)
      : exchange_(std::move(exchange)),
        is_chat_(query.is_chat),
        stream_(query.stream),
        include_usage_(query.include_usage),
        head_{{"id", fresh_id(is_chat_ ? "chatcmpl" : "cmpl")},
              {"object", !is_chat_ ? "text_completion"
                         : stream_ ? "chat.completion.chunk"
                                   : "chat.completion"},
              {"created", now()},
              {"model", served.names[query.adapter]}} {
    for (const auto& prompt : query.prompts) {
      prompt_tokens_ += std::ssize(prompt);
      for (int64_t n = 0; n < query.choices; ++n)
        choices_.push_back({.decoder = DecodeStream(served.tokenizer), .stop = StopStrings(query.stop)});
    }
  }

  bool is_waiting() const override { return !failed_ && exchange_->is_open(); }

  bool hear(size_t text, int32_t id, DecodedToken::End end) override {
    Choice& choice = choices_[text];
    ++tokens_;
    std::string said;
    if (end != DecodedToken::End::stop) said = choice.stop.push(choice.decoder.push(id));
    if (end != DecodedToken::End::none) {
      said += choice.stop.push(choice.decoder.finish());
      said += choice.stop.finish();
    }
    const bool stopped = choice.stop.found() || end == DecodedToken::End::stop;
    if (stopped || end == DecodedToken::End::length) choice.finish_reason = stopped ? "stop" : "length";
    if (stream_)
      stream(text, said);
    else
      choice.text += said;
    if (choice.finish_reason && ++finished_ == choices_.size()) finish();
    return !choice.finish_reason;
  }

  void fail(const std::string& why) override {
    if (failed_) return;
    failed_ = true;
    if (!begun_) return exchange_->answer({.status = 500, .body = error_json(500, why)});
    exchange_->send_event(error_json(500, why));
    exchange_->end_events();
  }

 private:
  struct Choice {
    DecodeStream decoder;
    StopStrings stop;
    std::string text = {};
    const char* finish_reason = nullptr;
    bool begun = false;
  };

  Json usage() const {
    return {
        {"prompt_tokens", prompt_tokens_}, {"completion_tokens", tokens_}, {"total_tokens", prompt_tokens_ + tokens_}};
  }

  void send(Json choices) {
    Json event = head_;
    event["choices"] = std::move(choices);
    exchange_->send_event(dump(event));
  }

  // An event for what has been said, one for why it ends.
  void stream(size_t text, const std::string& said) {
    if (!begun_) exchange_->begin_events();
    begun_ = true;
    Choice& choice = choices_[text];
    const auto event = [&](Json delta, const char* finish_reason) {
      Json one = {{"index", text}};
      if (is_chat_)
        one["delta"] = std::move(delta);
      else
        one["text"] = delta.value("content", "");
      one["logprobs"] = nullptr;
      one["finish_reason"] = finish_reason ? Json(finish_reason) : Json(nullptr);
      send(Json::array({std::move(one)}));
    };
    if (is_chat_ && !choice.begun) event({{"role", "assistant"}, {"content", ""}}, nullptr);
    choice.begun = true;
    if (!said.empty()) event({{"content", said}}, nullptr);
    if (choice.finish_reason) event(Json::object(), choice.finish_reason);
  }

  void finish() {
    if (stream_) {
      if (include_usage_) {
        Json event = head_;
        event["choices"] = Json::array();
        event["usage"] = usage();
        exchange_->send_event(dump(event));
      }
      exchange_->send_event("[DONE]");
      return exchange_->end_events();
    }
    Json choices = Json::array(), answer = head_;
    for (size_t i = 0; i < choices_.size(); ++i) {
      Json one = {{"index", i}};
      if (is_chat_)
        one["message"] = {{"role", "assistant"}, {"content", choices_[i].text}};
      else
        one["text"] = choices_[i].text;
      one["logprobs"] = nullptr;
      one["finish_reason"] = choices_[i].finish_reason;
      choices.push_back(std::move(one));
    }
    answer["choices"] = std::move(choices);
    answer["usage"] = usage();
    exchange_->answer({.body = dump(answer)});
  }

  std::shared_ptr<Exchange> exchange_;
  bool is_chat_, stream_, include_usage_, begun_ = false;
  std::atomic<bool> failed_{false};
  Json head_;  // what every object of this answer begins with
  std::vector<Choice> choices_;
  size_t finished_ = 0;
  int64_t prompt_tokens_ = 0, tokens_ = 0;
};

class EmbeddingAnswer final : public EmbeddingClient {
 public:
  EmbeddingAnswer(const EmbeddingQuery& query, const ServedModel& served, std::shared_ptr<Exchange> exchange)
      : exchange_(std::move(exchange)), base64_(query.base64), model_(served.names[query.adapter]) {
    for (const auto& text : query.texts) tokens_ += std::ssize(text);
  }

  bool is_waiting() const override { return exchange_->is_open(); }

  void hear(std::vector<std::vector<float>> vectors) override {
    Json data = Json::array();
    for (size_t i = 0; i < vectors.size(); ++i) {
      Json one = {{"object", "embedding"}, {"index", i}};
      one["embedding"] = base64_ ? Json(base64(vectors[i])) : Json(vectors[i]);
      data.push_back(std::move(one));
    }
    const Json answer = {{"object", "list"},
                         {"data", std::move(data)},
                         {"model", model_},
                         {"usage", {{"prompt_tokens", tokens_}, {"total_tokens", tokens_}}}};
    exchange_->answer({.body = dump(answer)});
  }

  void fail(const std::string& why) override { exchange_->answer({.status = 500, .body = error_json(500, why)}); }

 private:
  std::shared_ptr<Exchange> exchange_;
  bool base64_;
  std::string model_;
  int64_t tokens_ = 0;
};

}  // namespace

std::string error_json(int status, const std::string& message, const std::string& code) {
  return dump({{"error",
                {{"message", message},
                 {"type", status >= 500 ? "server_error" : "invalid_request_error"},
                 {"param", nullptr},
                 {"code", code.empty() ? Json(nullptr) : Json(code)}}}});
}

std::string models_json(const ServedModel& served, int64_t created) {
  Json data = Json::array();
  for (const std::string& name : served.names) data.push_back(model_object(name, created));
  return dump({{"object", "list"}, {"data", std::move(data)}});
}

std::string model_json(const ServedModel& served, int64_t created, const std::string& name) {
  if (std::ranges::find(served.names, name) == served.names.end())
    throw ApiError(404, "model_not_found", fmt::format("the model {} does not exist here", quote(name)));
  return dump(model_object(name, created));
}

std::shared_ptr<TextClient> answer_texts(const TextQuery& query, const ServedModel& served,
                                         std::shared_ptr<Exchange> exchange) {
  return std::make_shared<TextAnswer>(query, served, std::move(exchange));
}

std::shared_ptr<EmbeddingClient> answer_embeddings(const EmbeddingQuery& query, const ServedModel& served,
                                                   std::shared_ptr<Exchange> exchange) {
  return std::make_shared<EmbeddingAnswer>(query, served, std::move(exchange));
}

}  // namespace mora
