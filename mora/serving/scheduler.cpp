#include "mora/serving/scheduler.h"

#include <algorithm>
#include <cmath>
#include <new>
#include <numeric>

#include "autograd/ops/shape.h"

namespace mora {
namespace {

constexpr int64_t kEmbeddingTokens = 1024;  // of a forward pass, or one longer text

// What the exception being handled says.
std::string reason() {
  try {
    throw;
  } catch (const std::bad_alloc&) {
    return "out of memory; fewer --slots or a smaller --context need less";
  } catch (const std::exception& error) {
    return error.what();
  }
}

// The row v / ‖v‖ of x (B, d).
std::vector<float> unit_row(const Tensor& x, int64_t row) {
  const auto values = x.values<float>().subspan(size_t(row * x.dim(1)), size_t(x.dim(1)));
  const double square = std::inner_product(values.begin(), values.end(), values.begin(), 0.0);
  std::vector<float> unit(values.begin(), values.end());
  if (square > 0)
    for (float& value : unit) value = float(value / std::sqrt(square));
  return unit;
}

}  // namespace

Scheduler::Scheduler(const MultiAdapterModel& model, std::vector<Pooling> pooling, const SchedulerOptions& options)
    : model_(model), pooling_(std::move(pooling)), options_(options) {
  if (model.base().lm_head()) batch_.emplace(model.base());
}

template <class List, class Request>
bool Scheduler::enqueue(List& list, Request request) {
  const std::lock_guard lock(mutex_);
  if (stopped_ || texts_.size() + embeddings_.size() >= options_.queue) return false;
  list.push_back({std::move(request)});
  work_.notify_one();
  return true;
}

bool Scheduler::submit(TextRequest request) { return enqueue(texts_, std::move(request)); }
bool Scheduler::submit(EmbeddingRequest request) { return enqueue(embeddings_, std::move(request)); }

void Scheduler::stop() {
  const std::lock_guard lock(mutex_);
  stopped_ = true;
  work_.notify_one();
}

Scheduler::Load Scheduler::load() const {
  const std::lock_guard lock(mutex_);
  Load load = load_;
  load.waiting = texts_.size() + embeddings_.size();
  return load;
}

bool Scheduler::wait_for_work() {
  std::unique_lock lock(mutex_);
  load_.running = slots_.size();
  work_.wait(lock, [&] {
    return stopped_ || !texts_.empty() || !embeddings_.empty() || !slots_.empty() || !embedding_.empty();
  });
  return !stopped_;
}

void Scheduler::run() {
  const NoGrad no_grad;
  while (wait_for_work()) {
    forget_gone();
    admit();
    step();
    embed();
  }
  constexpr const char* why = "the server is shutting down";
  fail_texts(why);
  fail_embeddings(why);
  const std::lock_guard lock(mutex_);
  for (const WaitingTexts& waiting : texts_) waiting.request.client->fail(why);
  for (const EmbeddingRequest& waiting : embeddings_) waiting.client->fail(why);
  texts_.clear();
  embeddings_.clear();
}

void Scheduler::forget_gone() {
  std::erase_if(slots_, [&](const auto& entry) {
    const bool gone = !entry.second.client->is_waiting();
    if (gone) batch_->remove(entry.first);
    return gone;
  });
  std::erase_if(embedding_, [](const Embedding& e) { return !e.request.client->is_waiting(); });
  const std::lock_guard lock(mutex_);
  std::erase_if(texts_, [](const WaitingTexts& w) { return !w.request.client->is_waiting(); });
  std::erase_if(embeddings_, [](const EmbeddingRequest& w) { return !w.client->is_waiting(); });
}

// Texts take the free slots in the order in which they came; embeddings are begun as far as one pass goes.
void Scheduler::admit() {
  const std::lock_guard lock(mutex_);
  while (!texts_.empty() && slots_.size() < options_.slots) {
    WaitingTexts& first = texts_.front();
    DecodeRequest& text = first.request.texts[first.next];
    load_.prompt_tokens += std::ssize(text.prompt);
    slots_[batch_->add(std::move(text))] = {first.request.client, first.next};
    if (++first.next == first.request.texts.size()) texts_.pop_front();
  }
  load_.running = slots_.size();
  int64_t tokens = 0;
  const auto count = [&](const EmbeddingRequest& request) {
    for (const auto& text : request.texts) tokens += std::ssize(text);
  };
  for (const Embedding& begun : embedding_) count(begun.request);
  while (!embeddings_.empty() && tokens < kEmbeddingTokens) {
    const int64_t before = tokens;
    count(embeddings_.front());
    load_.prompt_tokens += tokens - before;
    embedding_.push_back({std::move(embeddings_.front()), {}});
    embeddings_.pop_front();
  }
}

void Scheduler::step() {
  if (slots_.empty()) return;
  int64_t tokens = 0;
  const auto hear = [&](const DecodedToken& token) {
    const auto slot = slots_.find(token.sequence);
    bool goes_on = false;
    if (token.error) {
      try {
        std::rethrow_exception(token.error);
      } catch (...) {
        slot->second.client->fail(reason());
      }
    } else {
      ++tokens;
      goes_on =
          slot->second.client->hear(slot->second.text, token.id, token.end) && token.end == DecodedToken::End::none;
    }
    if (!goes_on) slots_.erase(slot);
    return goes_on;
  };
  try {
    batch_->step(hear, options_.prompt_tokens);
  } catch (...) {
    fail_texts(reason());
  }
  const std::lock_guard lock(mutex_);
  load_.tokens += tokens;
}

void Scheduler::embed() {
  if (embedding_.empty()) return;
  try {
    embed_some();
  } catch (...) {
    fail_embeddings(reason());
  }
}

// One forward pass over texts of one adapter.
void Scheduler::embed_some() {
  const size_t adapter = embedding_.front().request.adapter;
  std::vector<const std::vector<int32_t>*> texts;
  std::vector<Embedding*> owners;
  int64_t tokens = 0;
  for (Embedding& e : embedding_) {
    if (e.request.adapter != adapter) continue;
    for (size_t i = e.vectors.size(); i < e.request.texts.size(); ++i) {
      tokens += std::ssize(e.request.texts[i]);
      if (!texts.empty() && tokens > kEmbeddingTokens) break;
      texts.push_back(&e.request.texts[i]);
      owners.push_back(&e);
    }
  }
  std::vector<std::vector<float>> vectors = vectors_of(texts, adapter);
  for (size_t i = 0; i < vectors.size(); ++i) owners[i]->vectors.push_back(std::move(vectors[i]));
  std::erase_if(embedding_, [](Embedding& e) {
    if (e.vectors.size() < e.request.texts.size()) return false;
    e.request.client->hear(std::move(e.vectors));
    return true;
  });
}

std::vector<std::vector<float>> Scheduler::vectors_of(const std::vector<const std::vector<int32_t>*>& texts,
                                                      size_t adapter) const {
  PackedBatch batch;
  batch.offsets.push_back(0);
  for (const auto* ids : texts) {
    batch.ids.insert(batch.ids.end(), ids->begin(), ids->end());
    for (size_t position = 0; position < ids->size(); ++position) batch.positions.push_back(int32_t(position));
    batch.offsets.push_back(int32_t(batch.ids.size()));
  }
  const Sequences sequences = to_sequences(batch);
  Context context;
  context.adapter_rows = {{.adapter = adapter}};
  const Tensor own = model_.base().pooled(sequences, pooling_.at(adapter), context),
               pooled = contiguous(cast(own, DType::f32)).to(cpu);  // (B, d)
  std::vector<std::vector<float>> vectors;
  for (int64_t b = 0; b < pooled.dim(0); ++b) vectors.push_back(unit_row(pooled, b));
  return vectors;
}

void Scheduler::fail_texts(const std::string& why) {
  for (const auto& [sequence, slot] : slots_) slot.client->fail(why);
  slots_.clear();
  if (batch_) batch_->clear();
}

void Scheduler::fail_embeddings(const std::string& why) {
  for (const Embedding& e : embedding_) e.request.client->fail(why);
  embedding_.clear();
}

}  // namespace mora
