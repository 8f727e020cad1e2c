// First configurations: which columns are taken for what, what is chosen from lengths, labels and memory.
#include "mora/training/first_config.h"

#include <gtest/gtest.h>

#include "engine/error.h"
#include "loaders/temporary_directory.h"

namespace mora {
namespace {

const std::string minilm = MORA_SOURCE_DIR "/.cache/models/minilm";

class FirstConfigTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() { ASSERT_TRUE(std::filesystem::exists(minilm)) << "run tools/fetch.sh first"; }

  ColumnRoles roles(const std::string& name, const std::string& content, bool is_language_model,
                    const ColumnHints& hints = {}) const {
    const std::string file = directory_.write(name, content).string();
    return guess_roles(summarize_columns(file), is_language_model, hints, file);
  }
  std::string error(const std::string& name, const std::string& content, bool is_language_model,
                    const ColumnHints& hints = {}) const {
    try {
      roles(name, content, is_language_model, hints);
    } catch (const ConfigError& error) {
      return std::string(error.what()).substr(directory_.path().string().size() + 1);
    }
    return "no error";
  }
  FirstConfig made(const std::string& rows, int64_t memory_bytes = 0) const {
    return make_first_config({.model = minilm,
                              .data = directory_.write("rows.tsv", rows).string(),
                              .valid = "",
                              .file = "rows.yaml",
                              .hints = {},
                              .memory_bytes = memory_bytes});
  }

  test::TemporaryDirectory directory_;
};

// `count` rows, each with `line(i)`.
template <class F>
std::string rows(const std::string& header, int count, F line) {
  std::string text = header + "\n";
  for (int i = 0; i < count; ++i) text += line(i) + "\n";
  return text;
}

TEST_F(FirstConfigTest, ColumnsAreKnownByTheirNamesOrByWhatTheyHold) {
  const std::string named = rows("id\tlabel\ttext\tlonger", 40, [](int i) {
    return fmt::format("{}\t{}\tword {}\ta much longer column of other words {}", i, i % 2 ? "yes" : "no", i, i);
  });
  ColumnRoles found = roles("a.tsv", named, false);
  EXPECT_EQ(found.task, Task::classification);
  EXPECT_EQ(found.text, "text");
  EXPECT_EQ(found.label, "label");
  EXPECT_EQ(found.other_labels, (std::vector<std::string>{"id"}));

  const std::string unnamed =
      rows("what,is it", 40, [](int i) { return fmt::format("words and more {},{}", i, i % 3); });
  found = roles("b.csv", unnamed, false);
  EXPECT_EQ(found.text, "what");
  EXPECT_EQ(found.label, "is it");
  EXPECT_EQ(found.task, Task::classification);  // 0, 1, 2 are class ids

  const std::string measured =
      rows("what,is it", 40, [](int i) { return fmt::format("words and more {},{}", i, i * i); });
  EXPECT_EQ(roles("c.csv", measured, false).task, Task::regression);
  EXPECT_EQ(roles("b.csv", unnamed, false, {.task = Task::regression, .text = {}, .label = {}}).task, Task::regression);
}

TEST_F(FirstConfigTest, ALanguageModelLearnsChatsThenCompletionsThenTexts) {
  const std::string turns = R"([{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}])";
  const std::string both =
      rows("", 3, [&](int) { return R"({"instruction": "a", "output": "b", "dialogue": )" + turns + "}"; }).substr(1);
  EXPECT_EQ(roles("a.jsonl", both, true).messages, "dialogue");
  const std::string pairs = "{\"instruction\": \"a\", \"output\": \"b\"}\n{\"instruction\": \"\", \"output\": \"c\"}\n";
  const ColumnRoles found = roles("b.jsonl", pairs, true);
  EXPECT_EQ(found.prompt, "instruction");
  EXPECT_EQ(found.completion, "output");
  EXPECT_FALSE(found.text || found.messages);
  EXPECT_EQ(roles("c.txt", "one document\nanother\n", true).text, "text");
  EXPECT_EQ(roles("b.jsonl", pairs, true, {.task = {}, .text = "output", .label = {}}).text, "output");
  EXPECT_EQ(roles("d.tsv", rows("text\tlabel", 8, [](int i) { return fmt::format("word {}\t{}", i, i % 2); }), true,
                  {.task = {}, .text = {}, .label = "label"})
                .task,
            Task::classification);
}

TEST_F(FirstConfigTest, WhatDoesNotFitIsSaidWithTheColumns) {
  EXPECT_EQ(
      error("a.txt", "one document\nanother\n", false),
      "a.txt: no column beside 'text' looks like a label; it has 'text'; name one with --label, or take a language "
      "model to learn the texts");
  EXPECT_EQ(error("b.tsv", "1\t2\n3\t4\n", true), "b.tsv: no column of text in every row; it has '1', '2'");
  EXPECT_EQ(error("c.jsonl", "{\"m\": [{\"role\": \"user\", \"content\": \"a\"}]}\n", false),
            "c.jsonl: chats are for a language model, and this model is none");
  const std::string different = rows("text\tlabel", 9, [](int i) { return fmt::format("word {}\tlabel {}", i, i); });
  EXPECT_NE(error("d.tsv", different, false).find("looks like a label"), std::string::npos);
}

TEST_F(FirstConfigTest, LengthsLabelsAndRowsDecide) {
  const FirstConfig config = made(rows("text\tlabel", 300, [](int i) {
    std::string text = "some words about it";
    for (int n = 0; n < i % 30; ++n) text += " more";
    return text + (i % 8 == 0 ? "\trare" : "\tcommon");
  }));
  EXPECT_EQ(config.config.task, Task::classification);
  EXPECT_EQ(config.config.data->max_length, 48);  // 2 + 4 + 29 words, in steps of 16
  EXPECT_EQ(config.config.data->valid_fraction, 0.1);
  EXPECT_EQ(config.config.train.batch_size, 16);  // 300 rows are some updates of an epoch
  ASSERT_TRUE(config.config.head.class_weights);
  EXPECT_TRUE(config.config.head.class_weights->balanced);
  EXPECT_NE(config.text.find("# 'common' 87 %, 'rare' 13 %"), std::string::npos) << config.text;
  EXPECT_NE(config.text.find("at most 35 tokens, the longest 35"), std::string::npos) << config.text;
}

TEST_F(FirstConfigTest, LittleMemoryGivesWayStepByStep) {
  const std::string data = rows("text\tlabel", 1000, [](int i) {
    std::string text = "it";
    for (int n = 0; n < 400; ++n) text += " word";
    return text + (i % 2 ? "\ta" : "\tb");
  });
  const FirstConfig free = made(data), tight = made(data, free.peak_bytes * 2 / 3), least = made(data, 1);
  EXPECT_EQ(free.config.train.batch_size, 32);
  EXPECT_EQ(free.config.train.accumulate, 1);
  EXPECT_LE(tight.peak_bytes, free.peak_bytes * 2 / 3);
  EXPECT_LT(tight.config.train.batch_size, 32);
  EXPECT_EQ(*tight.config.train.batch_size * tight.config.train.accumulate, 32);  // the same update
  EXPECT_FALSE(tight.config.train.recompute);
  EXPECT_EQ(least.config.train.batch_size, 1);
  EXPECT_TRUE(least.config.train.recompute);
  EXPECT_EQ(least.config.train.precision, Precision::bf16);
}

TEST_F(FirstConfigTest, ValidationRowsAreFoundBesideTheData) {
  const std::string train = directory_.write("x.train.tsv", "text\tlabel\n").string();
  EXPECT_EQ(validation_beside(train), "");
  const std::string valid = directory_.write("x.dev.tsv", "text\tlabel\n").string();
  EXPECT_EQ(validation_beside(train), valid);
  EXPECT_EQ(validation_beside(valid), "");
}

}  // namespace
}  // namespace mora
