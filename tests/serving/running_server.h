// A server of SmolLM2 or MiniLM in a thread of this process.
#pragma once

#include <chrono>
#include <thread>

#include "loaders/temporary_directory.h"
#include "mora/adapter_directory.h"
#include "mora/generation/generate.h"
#include "mora/models/registry.h"
#include "mora/serving/server.h"
#include "serving/client.h"

namespace mora::test {

inline const std::string smollm2 = MORA_SOURCE_DIR "/.cache/models/SmolLM2-135M-Instruct.Q4_1.gguf";
inline const std::string minilm = MORA_SOURCE_DIR "/.cache/models/minilm";

class RunningServer : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    ASSERT_TRUE(std::filesystem::exists(smollm2) && std::filesystem::exists(minilm)) << "run tools/fetch.sh first";
  }
  ~RunningServer() override { stop(); }

  void start(const ServerOptions& options = {}, const std::string& model = smollm2,
             std::vector<std::pair<std::string, std::string>> adapters = {}) {
    ServerOptions own = options;
    own.port = 0;
    server_ = std::make_unique<Server>(
        load_served_model({.model = model, .name = "base", .adapters = std::move(adapters), .context = 512}), own);
    port_ = server_->port();
    thread_ = std::thread([this] { server_->run(); });
  }
  void stop() {
    if (!thread_.joinable()) return;
    server_->stop();
    thread_.join();
    server_.reset();
  }

  int port() const { return port_; }
  Scheduler::Load load() const { return server_->load(); }
  // Until `is_reached` of the load, for some seconds.
  template <class F>
  bool wait_for(F is_reached) const {
    for (int i = 0; i < 2000; ++i) {
      if (is_reached(load())) return true;
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    return false;
  }
  bool is_idle_soon() const {
    return wait_for([](const Scheduler::Load& load) { return load.running == 0 && load.waiting == 0; });
  }

  // An adapter of random tensors, in a directory.
  std::string adapter(const std::string& name, const AdapterSpec& spec, const std::string& source = smollm2) const {
    MoRAModel model(load_model(source));
    model.add_adapters(spec, "all-linear", 1);
    uint64_t layer = 0;
    model.visit_parameters([&](const std::string&, Tensor& value) {
      const RandomStream stream({.seed = 3, .layer = ++layer});
      float* values = value.mutable_data<float>();
      for (int64_t i = 0; i < value.numel(); ++i) values[i] = float(0.02 * stream.normal(uint64_t(i)));
    });
    std::filesystem::create_directory(directory_ / name);
    save_adapter(directory_ / name, model, {.base_model = "", .task = "", .pooling = "", .labels = {}});
    return (directory_ / name).string();
  }

  // What `mora generate` would write, greedily.
  static std::string generated(const std::string& prompt, int64_t tokens, const std::string& adapter = "") {
    MoRAModel model(load_model(smollm2));
    if (!adapter.empty()) load_adapter(adapter, model);
    const Tokenizer tokenizer = load_tokenizer(smollm2);
    const GenerationOptions options{
        .max_tokens = tokens, .stop_tokens = stop_tokens(model.base(), tokenizer), .sampling = {}};
    return tokenizer.decode(generate(model.base(), {tokenizer.encode(prompt)}, options, [](size_t, int32_t) {}).ids[0]);
  }

 private:
  TemporaryDirectory directory_;
  std::unique_ptr<Server> server_;
  std::thread thread_;
  int port_ = 0;
};

}  // namespace mora::test
