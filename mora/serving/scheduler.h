// Continuous batching: requests wait in a bounded queue, join the batch that is being decoded when a slot is free, and
// leave it when they are done or nobody waits for them any more.
#pragma once

#include <condition_variable>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "mora/generation/decode_batch.h"
#include "mora/multi_adapter_model.h"

namespace mora {

// Who waits. The scheduler's thread calls these, but for `is_waiting`.
class TextClient {
 public:
  virtual ~TextClient() = default;
  virtual bool is_waiting() const = 0;  // any thread; false: nothing more is made for it
  // A token of its text number `text`; false: the text ends here.
  virtual bool hear(size_t text, int32_t id, DecodedToken::End end) = 0;
  // In place of all that is still to come.
  virtual void fail(const std::string& why) = 0;
};
struct TextRequest {
  std::shared_ptr<TextClient> client;
  std::vector<DecodeRequest> texts;
};

class EmbeddingClient {
 public:
  virtual ~EmbeddingClient() = default;
  virtual bool is_waiting() const = 0;
  virtual void hear(std::vector<std::vector<float>> vectors) = 0;  // (d) of each text, once
  virtual void fail(const std::string& why) = 0;
};
struct EmbeddingRequest {
  std::shared_ptr<EmbeddingClient> client;
  size_t adapter = 0;
  std::vector<std::vector<int32_t>> texts;
};

struct SchedulerOptions {
  size_t slots = 8;             // texts decoded together
  size_t queue = 64;            // requests that wait
  int64_t prompt_tokens = 256;  // read in a step, so that a long prompt does not hold up the texts being written
};

class Scheduler {
 public:
  // `pooling` by adapter.
  Scheduler(const MultiAdapterModel& model, std::vector<Pooling> pooling, const SchedulerOptions& options);

  // Any thread. False: the queue is full, or the scheduler has stopped.
  bool submit(TextRequest request);
  bool submit(EmbeddingRequest request);
  void stop();

  // Works until `stop`, then fails whoever waits.
  void run();

  struct Load {
    size_t running = 0, waiting = 0;        // texts, requests
    int64_t prompt_tokens = 0, tokens = 0;  // since the start: read, and written
  };
  Load load() const;

 private:
  struct WaitingTexts {
    TextRequest request;
    size_t next = 0;  // the first text that has no slot yet
  };
  struct Embedding {
    EmbeddingRequest request;
    std::vector<std::vector<float>> vectors;  // of its first texts
  };
  struct Slot {
    std::shared_ptr<TextClient> client;
    size_t text;
  };

  template <class List, class Request>
  bool enqueue(List& list, Request request);
  bool wait_for_work();
  void forget_gone();
  void admit();
  void step();
  void embed();
  void embed_some();
  std::vector<std::vector<float>> vectors_of(const std::vector<const std::vector<int32_t>*>& texts,
                                             size_t adapter) const;
  void fail_texts(const std::string& why);
  void fail_embeddings(const std::string& why);

  const MultiAdapterModel& model_;
  std::vector<Pooling> pooling_;
  SchedulerOptions options_;
  std::optional<DecodeBatch> batch_;  // of a language model
  std::map<uint64_t, Slot> slots_;    // by the batch's number of the sequence
  std::deque<Embedding> embedding_;   // those begun

  mutable std::mutex mutex_;  // of what follows
  std::condition_variable work_;
  std::deque<WaitingTexts> texts_;
  std::deque<EmbeddingRequest> embeddings_;
  bool stopped_ = false;
  Load load_{};
};

}  // namespace mora
