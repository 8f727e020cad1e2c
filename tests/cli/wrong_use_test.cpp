// What goes wrong when people use the program, and the one line that each of them reads: it names the fix.
#include <gtest/gtest.h>

#include <algorithm>
#include <iterator>
#include <sstream>

#include "cli/program.h"
#include "loaders/temporary_directory.h"

namespace {

namespace fs = std::filesystem;
using mora::test::content;

const fs::path cache = fs::path(MORA_SOURCE_DIR) / ".cache/models";

// A directory to work in, as a user's: two models, data, configurations, and a run that has ended.
struct WrongUse : ::testing::Test {
  void SetUp() override {
    ASSERT_TRUE(fs::exists(cache / "minilm")) << "run tools/fetch.sh first";
    before_ = fs::current_path();
    fs::current_path(directory.path());
    fs::create_directory_symlink(cache / "minilm", "minilm");
    fs::create_symlink(cache / "SmolLM2-135M-Instruct.Q4_1.gguf", "smollm2.gguf");
    directory.write("data.tsv", "text\tlabel\nA great film.\tgood\nA dull, awful film.\tbad\n");
    directory.write("fair.tsv", "text\tlabel\nA film.\tgood\nAnother.\tfair\n");
    directory.write("ragged.tsv", "text\tlabel\nA film.\n");
    directory.write("one_label.tsv", "text\tlabel\nA film.\tgood\n");
    directory.write("header.tsv", "text\tlabel\n");
    directory.write("empty.csv", "");
    directory.write("words.jsonl", "A film\n");
    directory.write("asked.jsonl", R"({"prompt": "A film."})"
                                   "\n");
    directory.write("chat.jsonl", R"({"messages": [{"role": "user", "content": "A film?"}]})"
                                  "\n");
    directory.write("broken.yaml", "model: [minilm\n");
    directory.write("run.yaml",
                    "model: minilm\ndata: {train: data.tsv}\nadapter: {kind: mora, rank: 2, operator: group}\n"
                    "train: {steps: 2, epochs: null, batch_size: 2, eval_every: null, save_every: null}\nout: new\n");
    directory.write("chat.yaml",
                    "model: smollm2.gguf\ntask: causal_lm\ndata: {train: chat.jsonl, messages: messages}\n"
                    "out: new\n");
    fs::copy("minilm/", "no_tokenizer");
    for (const auto& entry : fs::directory_iterator("minilm/"))
      if (entry.path().filename().string().find("token") != std::string::npos)
        fs::remove("no_tokenizer" / entry.path().filename());
    fs::copy("minilm/", "cut_short");
    fs::permissions("cut_short/model.safetensors", fs::perms::owner_write, fs::perm_options::add);
    fs::resize_file("cut_short/model.safetensors", 1'000'000);
    ASSERT_EQ(mora("train run.yaml out=run --quiet"), 0) << content("err.txt");
  }
  void TearDown() override { fs::current_path(before_); }

  // The exit code of `mora WORDS`; what it prints is in out.txt and err.txt.
  static int mora(const std::string& words) {
    std::istringstream in(words);
    return mora::test::exit_code(
        mora::test::start_mora({std::istream_iterator<std::string>(in), {}}, "/dev/null", "out.txt", "err.txt"));
  }

  mora::test::TemporaryDirectory directory;

 private:
  fs::path before_;
};

struct Use {
  const char *words, *error;  // the line on stderr after "error: "
};

// What the program finds: exit code 1.
constexpr Use kFailures[] = {
    // the configuration
    {"train run.yaml adapter.rnk=4",
     "adapter.rnk=4: unknown key 'adapter.rnk'; did you mean 'adapter.rank'? (an integer from 1 to 2147483647; default "
     "8)"},
    {"train run.yaml lr=3",
     "lr=3: unknown key 'lr'; did you mean 'optimizer.lr'? (a number of at least 0; default 0.001)"},
    {"train run.yaml adapter.rank=many",
     "adapter.rank=many: adapter.rank: expected an integer from 1 to 2147483647, got 'many'"},
    {"train run.yaml adapter.rank=0",
     "adapter.rank=0: adapter.rank: expected an integer from 1 to 2147483647, got '0'"},
    {"train run.yaml adapter.kind=lora adapter.rank=1000000",
     "adapter.rank: 1000000: at most 384, the smaller side of a weight (384, 384); lower it, or give this module its "
     "own in adapter.rank_pattern"},
    {"train run.yaml adapter.kind=loar",
     "adapter.kind=loar: adapter.kind: expected mora | lora | rslora | dora | adalora | none, got 'loar'; did you mean "
     "'lora'?"},
    {"train run.yaml adapter.targets=qeury",
     "adapter.targets: 'qeury' matches no linear or embedding of this bert model; did you mean 'query'?"},
    {"train run.yaml adapter.targets=[word_embeddings]",
     "adapter.kind: mora: 'bert.embeddings.word_embeddings' is an embedding, which lora and rslora adapt; take one of "
     "them, or leave it out of adapter.targets"},
    {"train run.yaml adapter.kind=lora adapter.init=pissa adapter.targets=[word_embeddings]",
     "adapter.init: 'bert.embeddings.word_embeddings' is an embedding, which default and gaussian start; take one of "
     "them, or leave it out of adapter.targets"},
    {"train run.yaml adapter.kind=lora adapter.targets=[word_embeddings,query] adapter.adapt.budget=1",
     "adapter.adapt: module 'bert.embeddings.word_embeddings' is an embedding: its rank is fixed; leave it out of "
     "adapter.targets"},
    {"train run.yaml adapter.modules_to_save=[word_embeddings]",
     "adapter.modules_to_save: 'bert.embeddings.word_embeddings' is an embedding, which is not trained whole; name it "
     "in adapter.targets"},
    {"train run.yaml optimizer.lr=fast",
     "optimizer.lr=fast: optimizer.lr: expected a number of at least 0, got 'fast'"},
    {"train run.yaml optimizer.lr", "optimizer.lr: expected KEY=VALUE, such as optimizer.lr=1e-4"},
    {"train run.yaml train.eval_every=0.5",
     "train.eval_every=0.5: train.eval_every: expected a number of steps such as 200, or a share of the data such as "
     "0.25epoch, or null, got '0.5'"},
    {"train run.yaml train.early_stop.patience=2",
     "train.early_stop.patience=2: train.early_stop: needs data.valid or data.valid_fraction"},
    {"train run.yaml head.class_weights=[1]", "head.class_weights: 1 for the 2 labels bad, good; give each its weight"},
    {"train rum.yaml", "rum.yaml: cannot open: No such file or directory; did you mean 'run.yaml'?"},
    {"train broken.yaml", "broken.yaml:2: not YAML: end of sequence flow not found"},
    {"train run.yaml head.pooling=middle",
     "head.pooling=middle: head.pooling: expected auto | pooler | cls | mean, got 'middle'"},
    {"train run.yaml adapter.init_from=models",
     "models: no adapter here: neither mora_config.json nor adapter_config.json"},
    {"meta-train run.yaml", "meta: missing; mora meta-train needs meta: and tasks:"},
    // the data
    {"train run.yaml data.train=dta.tsv", "dta.tsv: cannot open: No such file or directory; did you mean 'data.tsv'?"},
    {"train run.yaml data.train=parts/*.tsv", "no data file matches 'parts/*.tsv'"},
    {"train run.yaml data.train=run.yaml", "run.yaml: '.yaml' is no known data format; use .tsv, .csv, .jsonl or .txt"},
    {"train run.yaml data.train=empty.csv", "empty.csv: the file is empty; it needs rows to read"},
    {"train run.yaml data.train=header.tsv", "header.tsv: no rows under the header line"},
    {"train run.yaml data.train=ragged.tsv", "ragged.tsv:2: 1 field where line 1 has 2"},
    {"train run.yaml data.train=one_label.tsv",
     "data.label: the training data has one label ('good'); classification needs two"},
    {"train run.yaml data.train=words.jsonl",
     "words.jsonl:1: syntax error while parsing value - invalid literal; each line is a JSON object"},
    {"train run.yaml data.text=txt", "data.tsv:1: no column 'txt'; there is text, label; did you mean 'text'?"},
    {"train run.yaml data.label=stars",
     "data.tsv:1: no column 'stars'; there is text, label; a file without a header line is read by index (0, 1, …)"},
    {"train run.yaml data.valid=fair.tsv", "fair.tsv:3: column 'label': unknown label 'fair'; known are 'bad', 'good'"},
    {"train run.yaml task=regression",
     "data.tsv:2: column 'label': 'good' is no finite number, which regression learns"},
    {"train chat.yaml",
     "data: none of the 1 rows trains a token: the prompts fill data.max_length, or no message is the assistant's"},
    {"train chat.yaml data.train=asked.jsonl data.messages=null data.prompt=prompt data.completion=completion",
     "asked.jsonl:1: no column 'completion'; there is prompt; each object needs it"},
    // the model
    {"train run.yaml model=minilmm",
     "minilmm: no model here; a model is a Hugging Face directory (config.json and what lies beside it) or a .gguf "
     "file"},
    {"train run.yaml model=no_tokenizer",
     "no_tokenizer: no tokenizer.json; transformers' save_pretrained of the model's fast tokenizer writes one"},
    {"train run.yaml model=cut_short",
     "cut_short/model.safetensors: truncated: the tensors need 90856960 bytes of data, the file has 988584; copy it "
     "anew"},
    {"train run.yaml task=causal_lm", "task: causal_lm: minilm is a bert model, which has no language-model head"},
    {"generate --model minilm --prompt A", "generate: this bert model has no lm_head: it is no language model"},
    {"chat --model minilm", "minilm: has no chat template; use mora generate --prompt"},
    {"train run.yaml --device gpu", "device 'gpu': expected cpu, cuda or cuda:N"},
    // the run
    {"train run.yaml --resume", "new: no run to resume here; begin it without --resume"},
    {"train run.yaml out=run", "run: a run is already here; continue it with --resume, or choose another `out`"},
    {"train run.yaml out=run --resume optimizer.lr=2",
     "run: the configuration is not the one the run was started with (run/config.yaml); resume with the same"},
    {"train run.yaml out=/proc/new",
     "/proc/new: cannot make the directory: No such file or directory; choose another place"},
    {"report rum", "rum/metrics.jsonl: cannot be read; a run directory of mora train has one"},
    {"compare run", "compare: one run; name two or more (mora report shows one)"},
    {"sweep run.yaml --grid optimizer.lr", "--grid optimizer.lr: write it as --grid optimizer.lr=1e-4,3e-4"},
    // the adapter
    {"generate --model smollm2.gguf --adapter run/adapter --prompt A",
     "run/adapter/mora_config.json: module 'bert.encoder.layer.0.attention.output.dense': this llama model has none of "
     "that name; the adapter was made for another model (minilm)"},
    {"export --adapter run --to peft --out new",
     "run: no adapter here: neither mora_config.json nor adapter_config.json; a run's is in its adapter/"},
    {"export --adapter run/adapter --to peft --out run", "run: exists already; remove it or choose another name"},
    {"predict --model minilm --data data.tsv --out new.jsonl",
     "minilm: no trained head; give the adapter that has one with --adapter"},
    {"eval --model minilm --adapter run/adapter --data fair.tsv --task classification",
     "fair.tsv:3: column 'label': unknown label 'fair'; known are 'bad', 'good'"},
    {"adapt --meta run --data data.tsv --out new", "run: no meta-training here; --meta takes a run of mora meta-train"},
    {"generate --model smollm2.gguf --prompt A --top-p 2", "top_p: 2, expected above 0 and at most 1"},
};

// What is wrong with the command line itself: exit code 2, and a second line with the usage.
constexpr Use kWrongUsage[] = {
    {"train", "CONFIG is required"},
    {"train run.yaml --resum", "unknown option '--resum'; did you mean '--resume'?"},
    {"preview run.yaml --rows -1", "--rows: expected an integer of at least 0, got '-1'"},
    {"generate --model smollm2.gguf --prompt A --max-tokens few",
     "Could not convert: --max-tokens = few: a number is expected"},
    {"export --adapter run/adapter --to onnx --out new", "--to: onnx not in {peft,gguf}"},
    {"serve --model smollm2.gguf --port 70000", "--port: Value 70000 not in range 0 to 65535"},
};

TEST_F(WrongUse, EachIsOneLineThatNamesTheFix) {
  for (const Use& use : kFailures) {
    EXPECT_EQ(mora(use.words), 1) << use.words;
    EXPECT_EQ(content("err.txt"), "error: " + std::string(use.error) + "\n") << use.words;
    EXPECT_EQ(content("out.txt"), "") << use.words;
    EXPECT_FALSE(fs::exists("new")) << use.words;
  }
  for (const Use& use : kWrongUsage) {
    EXPECT_EQ(mora(use.words), 2) << use.words;
    const std::string lines = content("err.txt");
    EXPECT_EQ(lines.substr(0, lines.find('\n')), "error: " + std::string(use.error)) << use.words;
    EXPECT_NE(lines.find("\nusage: mora "), std::string::npos) << lines;
    EXPECT_EQ(std::count(lines.begin(), lines.end(), '\n'), 2) << lines;
  }
}

}  // namespace
