// The `mora` program as a user runs it: what it prints where, its exit codes, and the one line for each wrong use.
#include <gtest/gtest.h>

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "cli/program.h"

namespace {

namespace fs = std::filesystem;

struct Result {
  int code = -1;
  std::string out, err;
};

using mora::test::content;

class Cli : public ::testing::Test {
 protected:
  void SetUp() override {
    directory_ = fs::temp_directory_path() / ("mora_cli_" + std::to_string(getpid()));
    fs::create_directories(directory_);
  }
  void TearDown() override { fs::remove_all(directory_); }

  Result mora(std::vector<std::string> words, const std::string& input = "") const {
    const fs::path in = directory_ / "in", out = directory_ / "out", err = directory_ / "err";
    std::ofstream(in, std::ios::binary) << input;
    const int code = mora::test::exit_code(mora::test::start_mora(std::move(words), in, out, err));
    return {code, content(out), content(err)};
  }

  // A tokenizer of five words.
  std::string tokenizer() const {
    std::ofstream(directory_ / "tokenizer.json")
        << R"({"version": "1.0", "truncation": null, "padding": null, "added_tokens": [
             {"id": 0, "content": "[UNK]", "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true},
             {"id": 1, "content": "[CLS]", "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true}],
             "normalizer": {"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true, "strip_accents": null, "lowercase": true},
             "pre_tokenizer": {"type": "BertPreTokenizer"},
             "post_processor": {"type": "TemplateProcessing",
               "single": [{"SpecialToken": {"id": "[CLS]", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
               "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
               "special_tokens": {"[CLS]": {"id": "[CLS]", "ids": [1], "tokens": ["[CLS]"]}}},
             "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": true},
             "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##", "max_input_chars_per_word": 100,
               "vocab": {"[UNK]": 0, "[CLS]": 1, "a": 2, "cat": 3, "##s": 4}}})";
    return directory_.string();
  }

  fs::path directory_;
};

nlohmann::json last_line(const std::string& text) {
  const size_t begin = text.find_last_of('\n', text.size() - 2);
  return nlohmann::json::parse(text.substr(begin == std::string::npos ? 0 : begin + 1));
}

TEST_F(Cli, VersionAndHelpGoToStdout) {
  const Result version = mora({"--version"});
  EXPECT_EQ(version.code, 0);
  EXPECT_EQ(version.out.rfind("mora ", 0), 0U);
  EXPECT_EQ(version.err, "");
  for (const char* command : {"tokenize", "inspect", "doctor", "config-reference"}) {
    EXPECT_NE(mora({"--help"}).out.find(command), std::string::npos);
    const Result help = mora({command, "--help"});
    EXPECT_EQ(help.code, 0) << command;
    EXPECT_NE(help.out.find("--json"), std::string::npos) << command;
    EXPECT_EQ(help.err, "") << command;
  }
}

TEST_F(Cli, EachCommandsHelpOpensWithWhatItDoes) {
  std::istringstream lines(mora({"--help"}).out);
  int commands = 0;
  bool listed = false;
  for (std::string line; std::getline(lines, line);) {
    listed = listed || line == "Subcommands:";
    const size_t name = line.find_first_not_of(' '), end = line.find(' ', name),
                 summary = line.find_first_not_of(' ', end);
    if (!listed || name == std::string::npos || name == 0 || summary == std::string::npos) continue;
    const std::string help = mora({line.substr(name, end - name), "--help"}).out;
    EXPECT_EQ(help.substr(0, help.find('\n')), line.substr(summary));
    ++commands;
  }
  EXPECT_GE(commands, 24);
}

TEST_F(Cli, GenerateAnswersAChat) {
  const fs::path model = fs::path(MORA_SOURCE_DIR) / ".cache/models/SmolLM2-135M-Instruct.Q4_1.gguf";
  ASSERT_TRUE(fs::exists(model)) << "run tools/fetch.sh first";
  const std::vector<std::string> command{"generate", "--model", model.string(), "--chat",
                                         "What is the capital of France?"};
  auto with = [&](std::vector<std::string> more) {
    more.insert(more.begin(), command.begin(), command.end());
    return mora(more);
  };
  const Result answer = with({"--json", "--quiet"});
  ASSERT_EQ(answer.code, 0) << answer.err;
  EXPECT_EQ(answer.out.substr(0, answer.out.find('\n')), "The capital of France is Paris.");
  EXPECT_EQ(answer.err, "");
  const nlohmann::json result = last_line(answer.out);
  EXPECT_EQ(result.at("text"), "The capital of France is Paris.");
  EXPECT_EQ(result.at("tokens"), result.at("ids").size());
  EXPECT_EQ(result.at("prompt_tokens"), 37);
  EXPECT_GT(result.at("prefill_tokens_per_second"), 0);
  EXPECT_GT(result.at("decode_tokens_per_second"), 0);

  const std::vector<std::string> drawn{"--temperature", "1.5", "--top-k", "50", "--max-tokens", "5", "--seed", "3"};
  EXPECT_EQ(with(drawn).out, with(drawn).out);
  EXPECT_NE(with(drawn).out, answer.out);

  // Two chats at once: each has the tokens it has alone.
  const Result both = with({"--chat", "Name a color.", "--max-tokens", "8", "--json", "--quiet"});
  ASSERT_EQ(both.code, 0) << both.err;
  const nlohmann::json results = last_line(both.out).at("results");
  ASSERT_EQ(results.size(), 2U);
  const nlohmann::json alone = last_line(
      mora({"generate", "--model", model.string(), "--chat", "Name a color.", "--max-tokens", "8", "--json", "--quiet"})
          .out);
  EXPECT_EQ(results[0].at("text"), "The capital of France is Paris.");
  EXPECT_EQ(results[1].at("ids"), alone.at("ids"));
  EXPECT_EQ(both.out.substr(0, both.out.find("\n{")),
            "The capital of France is Paris.\n\n" + alone.at("text").get<std::string>());
  EXPECT_EQ(last_line(both.out).at("tokens"), results[0].at("ids").size() + results[1].at("ids").size());
}

TEST_F(Cli, EvalCountsTheTokensOfALanguageModel) {
  const std::string model = (fs::path(MORA_SOURCE_DIR) / ".cache/models/SmolLM2-135M-Instruct.Q4_1.gguf").string();
  std::ofstream(directory_ / "text.txt") << "Rain fell on the roof all night.\n";
  const Result result =
      mora({"eval", "--model", model, "--data", (directory_ / "text.txt").string(), "--task", "causal_lm", "--json"});
  ASSERT_EQ(result.code, 0) << result.err;
  EXPECT_TRUE(last_line(result.out).at("tokens").is_number_integer());
  EXPECT_EQ(last_line(result.out).at("tokens"), 8);  // the first of eight has nothing before it; the end token is one
}

TEST_F(Cli, EvalShowsEachTokensLossAndItsExperts) {
  const std::string model = (fs::path(MORA_SOURCE_DIR) / ".cache/models/SmolLM2-135M-Instruct.Q4_1.gguf").string();
  const fs::path data = directory_ / "text.txt", run = directory_ / "run", tokens = directory_ / "tokens.jsonl";
  std::ofstream(data) << "Rain fell on the roof all night.\nIt stopped.\n";
  std::ofstream(directory_ / "run.yaml")
      << "model: " << model << "\ntask: causal_lm\ndata: {train: " << data.string() << "}\nout: " << run.string()
      << "\nadapter: {kind: lora, rank: 2, targets: [q_proj], experts: {count: 4, routing: top_p}}\n"
         "train: {steps: 1, epochs: null, batch_size: 2, eval_every: null, save_every: null}\n";
  const Result trained = mora({"train", (directory_ / "run.yaml").string(), "--quiet"});
  ASSERT_EQ(trained.code, 0) << trained.err;
  std::vector<std::string> words{"eval",   "--model",   model,      "--data",        data.string(),
                                 "--task", "causal_lm", "--tokens", tokens.string(), "--json"};
  for (const bool routed : {false, true}) {
    if (routed) words.insert(words.end(), {"--adapter", (run / "adapter").string()});
    const Result result = mora(words);
    ASSERT_EQ(result.code, 0) << result.err;
    const nlohmann::json whole = last_line(result.out);
    double loss = 0;
    std::vector<std::pair<int, int>> places;
    std::ifstream lines(tokens);
    for (std::string line; std::getline(lines, line);) {
      const nlohmann::json token = nlohmann::json::parse(line);
      loss += token.at("loss").get<double>();
      places.emplace_back(token.at("row"), token.at("place"));
      ASSERT_EQ(token.contains("active_experts"), routed);
      if (!routed) continue;
      EXPECT_GE(token["active_experts"], 1);
      EXPECT_LE(token["active_experts"], 4);
      EXPECT_GT(token["router_entropy"], 0);
      EXPECT_LE(token["router_entropy"].get<double>(), std::log(4.0) + 1e-6);
    }
    ASSERT_EQ(std::ssize(places), whole.at("tokens").get<int64_t>());
    EXPECT_EQ(places.front(), std::pair(0, 1));
    EXPECT_EQ(places[8], std::pair(1, 1));
    EXPECT_NEAR(loss / double(places.size()), whole.at("loss").get<double>(), 1e-6);
    EXPECT_EQ(whole.contains("expert_load_min"), routed);
  }
  const Result wrong = mora(
      {"eval", "--model", model, "--data", data.string(), "--task", "classification", "--tokens", tokens.string()});
  EXPECT_EQ(wrong.code, 1);
}

struct WrongUse {
  std::vector<std::string> words;
  int code;
  const char* error;  // the first line of stderr, without "error: "
};

TEST_F(Cli, EachWrongUseIsOneLineThatNamesTheFix) {
  const WrongUse cases[] = {
      {{}, 2, "no command given"},
      {{"tokenise"}, 2, "unknown command 'tokenise'; did you mean 'tokenize'?"},
      {{"frobnicate"}, 2, "unknown command 'frobnicate'"},
      {{"--jsn"}, 2, "unknown option '--jsn'"},
      {{"generate", "--model", "x"}, 2, "Exactly 1 option from [--prompt,--chat] is required"},
      {{"doctor", "--jsno"}, 2, "unknown option '--jsno'; did you mean '--json'?"},
      {{"tokenize", "--modle", "x"}, 2, "unknown option '--modle'; did you mean '--model'?"},
      {{"tokenize"}, 2, "--model is required"},
      {{"inspect"}, 2, "PATH is required"},
      {{"inspect", "a", "b"}, 2, "unexpected argument 'b'"},
      {{"doctor", "--threads", "0"}, 2, "--threads: Value 0 not in range 1 to 4096"},
      {{"doctor", "--device", "tpu"}, 1, "device 'tpu': expected cpu, cuda or cuda:N"},
      {{"bench", "gem"},
       1,
       "bench: no subject 'gem'; did you mean 'gemm'? (subjects: gemm, adapters, experts, attention, elementwise, "
       "optimizer, training, overhead, decode, tokenizer)"},
      {{"bench", "training"}, 1, "bench: training is for a card: add --device cuda"},
      {{"bench", "tokenizer", "--model", "x"}, 1, "bench: tokenizer needs --text"},
      {{"inspect", "/nonexistent"}, 1, "/nonexistent: no such file or directory"},
      {{"inspect", "/"},
       1,
       "/: no model (config.json), adapter (mora_config.json, adapter_config.json) or checkpoint (manifest.json)"},
  };
  for (const WrongUse& use : cases) {
    const Result result = mora(use.words);
    EXPECT_EQ(result.code, use.code) << use.error;
    EXPECT_EQ(result.out, "") << use.error;
    EXPECT_EQ(result.err.substr(0, result.err.find('\n')), std::string("error: ") + use.error);
    const auto lines = std::count(result.err.begin(), result.err.end(), '\n');
    EXPECT_EQ(lines, use.code == 2 ? 2 : 1) << result.err;  // a wrong use also shows the usage
    EXPECT_EQ(result.err.find("\nusage: mora ") != std::string::npos, use.code == 2) << result.err;
  }
}

TEST_F(Cli, TokenizeTurnsALineIntoIds) {
  const std::string model = tokenizer();
  const Result result = mora({"tokenize", "--model", model}, "A cat\n\nCats dog\r\nlast");
  EXPECT_EQ(result.code, 0) << result.err;
  EXPECT_EQ(result.out, "[1,2,3]\n[1]\n[1,3,4,0]\n[1,0]\n");
  EXPECT_EQ(mora({"tokenize", "--model", model, "--no-special"}, "a cat\n").out, "[2,3]\n");
  EXPECT_EQ(mora({"tokenize", "--model", model}, "").out, "");
}

TEST_F(Cli, TokenizeDecodes) {
  const std::string model = tokenizer();
  EXPECT_EQ(mora({"tokenize", "--model", model, "--decode"}, "[1, 2, 3, 4]\n[]\n").out, "a cats\n\n");
  const std::pair<const char*, const char*> wrong[] = {
      {"[1]\n{}\n", "error: standard input:2: expected a JSON array of ids\n"},
      {"[-1]\n", "error: standard input:1: '-1' is no id\n"},
      {"[1.5]\n", "error: standard input:1: '1.5' is no id\n"},
      {"[4294967296]\n", "error: standard input:1: '4294967296' is no id\n"}};
  for (const auto& [input, error] : wrong) {
    const Result result = mora({"tokenize", "--model", model, "--decode"}, input);
    EXPECT_EQ(result.code, 1);
    EXPECT_EQ(result.err, error);
  }
}

TEST_F(Cli, InspectListsTensors) {
  const std::string adapter = MORA_SOURCE_DIR "/tests/goldens/peft_dora";
  const Result result = mora({"inspect", adapter, "--json"});
  ASSERT_EQ(result.code, 0) << result.err;
  const nlohmann::json json = last_line(result.out);
  EXPECT_EQ(json.at("kind"), "adapter");
  EXPECT_EQ(json.at("config").at("peft_type"), "LORA");
  ASSERT_FALSE(json.at("tensors").empty());
  uint64_t bytes = 0;
  for (const auto& tensor : json.at("tensors")) {
    EXPECT_EQ(tensor.at("dtype"), "F32");
    uint64_t size = 4;
    for (const auto& length : tensor.at("shape")) size *= length.get<uint64_t>();
    EXPECT_EQ(tensor.at("bytes"), size);
    bytes += size;
  }
  EXPECT_EQ(json.at("bytes"), bytes);
  const Result file = mora({"inspect", adapter + "/adapter_model.safetensors", "--json"});
  EXPECT_EQ(last_line(file.out).at("kind"), "file");
  EXPECT_EQ(last_line(file.out).at("tensors"), json.at("tensors"));
}

TEST_F(Cli, InspectOfAHostileFileIsOneLine) {
  const fs::path file = directory_ / "x.safetensors";
  std::ofstream(file) << "short";
  const Result result = mora({"inspect", file.string()});
  EXPECT_EQ(result.code, 1);
  EXPECT_EQ(result.err.rfind("error: " + file.string() + ": ", 0), 0U) << result.err;
  EXPECT_EQ(std::count(result.err.begin(), result.err.end(), '\n'), 1);
}

TEST_F(Cli, DoctorKnowsTheMachine) {
  const Result result = mora({"doctor", "--json", "--threads", "1"});
  ASSERT_EQ(result.code, 0) << result.err;
  const nlohmann::json json = last_line(result.out);
  EXPECT_EQ(json.at("cpu").at("threads"), 1);
  EXPECT_GT(json.at("cpu").at("memory_bytes"), 0);
  EXPECT_EQ(json.at("cuda").at("available"), json.at("cuda").at("reason") == "");
}

TEST_F(Cli, ADeviceThatNoCommandRunsOnIsRefused) {
  const Result result = mora({"doctor", "--device", "cuda:200"});
  EXPECT_EQ(result.code, 1);
  EXPECT_TRUE(result.err.starts_with("error: --device cuda:200: ")) << result.err;
  EXPECT_TRUE(result.err.ends_with("; use --device cpu\n")) << result.err;
  EXPECT_EQ(std::count(result.err.begin(), result.err.end(), '\n'), 1);
}

TEST_F(Cli, BenchTimesOneSubjectByName) {
  const Result result = mora({"bench", "overhead", "--json", "--threads", "1"});
  ASSERT_EQ(result.code, 0) << result.err;
  const nlohmann::json rows = last_line(result.out).at("rows");
  ASSERT_FALSE(rows.empty());
  for (const auto& row : rows) {
    EXPECT_EQ(row.at("subject"), "overhead");
    EXPECT_GT(row.at("seconds"), 0);
  }
}

TEST_F(Cli, ConfigReferenceIsThePageInTheDocs) {
  EXPECT_EQ(mora({"config-reference"}).out, content(MORA_SOURCE_DIR "/docs/config.md"));
}

TEST_F(Cli, AFullDiskIsAnErrorAndNotSilence) {
  const pid_t child = fork();
  if (child == 0) {
    dup2(open("/dev/full", O_WRONLY), STDOUT_FILENO);
    dup2(open("/dev/null", O_WRONLY), STDERR_FILENO);
    execl(MORA_PROGRAM, MORA_PROGRAM, "config-reference", nullptr);
    _exit(127);
  }
  int status = 0;
  waitpid(child, &status, 0);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 1);
}

TEST_F(Cli, ASignalEndsWithItsExitCode) {
  const std::string model = tokenizer();
  for (const auto& [signal, code] : {std::pair(SIGINT, 130), std::pair(SIGTERM, 143)}) {
    int input[2], output[2];
    ASSERT_EQ(pipe(input), 0);
    ASSERT_EQ(pipe(output), 0);
    const pid_t child = fork();
    if (child == 0) {
      dup2(input[0], STDIN_FILENO);
      dup2(output[1], STDOUT_FILENO);
      close(input[1]);
      close(output[0]);
      close(output[1]);
      execl(MORA_PROGRAM, MORA_PROGRAM, "tokenize", "--model", model.c_str(), nullptr);
      _exit(127);
    }
    close(output[1]);
    char answer[256];  // one line answered: it is up, and waits for its next
    ASSERT_EQ(write(input[1], "Hello\n", 6), 6);
    ASSERT_GT(read(output[0], answer, sizeof answer), 0);
    kill(child, signal);
    int status = 0;
    waitpid(child, &status, 0);
    for (int fd : {input[0], input[1], output[0]}) close(fd);
    EXPECT_TRUE(WIFEXITED(status)) << signal;
    EXPECT_EQ(WEXITSTATUS(status), code);
  }
}

}  // namespace
