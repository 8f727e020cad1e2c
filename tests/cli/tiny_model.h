// A model and data small enough to train for thousands of updates, or in an emulated processor.
#pragma once

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>

#include "loaders/temporary_directory.h"

namespace mora::test {

struct TinyModel : ::testing::Test {
  TemporaryDirectory directory;

  // A golden model with a tokenizer for its vocabulary of 80: four special tokens, then words.
  void write_model(const std::string& family = "bert") const {
    const std::filesystem::path model = directory / "model",
                                golden = std::filesystem::path(MORA_SOURCE_DIR) / "tests/goldens/models" / family;
    std::filesystem::create_directory(model);
    for (const char* name : {"config.json", "model.safetensors"}) std::filesystem::copy(golden / name, model / name);
    nlohmann::json vocabulary = {{"[PAD]", 0}, {"[UNK]", 1}, {"[CLS]", 2}, {"[SEP]", 3}};
    for (int i = 4; i < 80; ++i) vocabulary[fmt::format("w{}", i)] = i;
    const nlohmann::json pair = {{"type", "WordPiece"},
                                 {"unk_token", "[UNK]"},
                                 {"continuing_subword_prefix", "##"},
                                 {"max_input_chars_per_word", 100},
                                 {"vocab", vocabulary}};
    directory.write("model/tokenizer.json",
                    nlohmann::json{{"model", pair}, {"pre_tokenizer", {{"type", "WhitespaceSplit"}}}}.dump());
  }
  std::string write_data(const std::string& name, int rows) const {
    std::string text = "text\tlabel\n";
    for (int row = 0; row < rows; ++row) {  // of one length: a new shape of a product is a new kernel, which is kept
      for (int i = 0; i < 8; ++i) text += fmt::format("w{} ", 4 + (row * 31 + i * 17) % 76);
      text += fmt::format("\t{}\n", row % 3);
    }
    return directory.write(name, text).string();
  }
};

}  // namespace mora::test
