// Writes what fuzz targets start from, `write_fuzz_seeds tests/fuzz/corpus`: directories and configurations as the
// program's own writers make them, data files and a chat template.
#include <cstdio>
#include <fstream>

#include "faults/small_run.h"
#include "mora/peft_directory.h"

namespace mora {
namespace {

namespace fs = std::filesystem;
using Kind = AdapterSpec::Kind;

fs::path corpus;

void write_seed(const std::string& target, const std::string& name, const std::string& bytes) {
  fs::create_directories(corpus / target);
  std::ofstream(corpus / target / name, std::ios::binary) << bytes;
}

const std::string nul(1, '\0');

// A safetensors file's header, a NUL, its data (input_directory.h puts the length before them again).
std::string parts_of_safetensors(const std::string& file) {
  size_t length = 0;
  for (int i = 8; i-- > 0;) length = length << 8 | uint8_t(file[size_t(i)]);
  return file.substr(8, length) + nul + file.substr(8 + length);
}

std::string parts_of_adapter(const fs::path& directory, const char* config, const char* weights) {
  return test::read_bytes(directory / config) + nul + parts_of_safetensors(test::read_bytes(directory / weights));
}

void write_adapters(const char* name, const AdapterSpec& spec, const RoutedSpec& routed = {}) {
  test::TemporaryDirectory directory;
  MoRAModel model(load_model(test::golden_models / "bert"));
  model.add_adapters(spec, std::vector<std::string>{"layer.0.attention.self.query"}, 1, {}, routed);
  test::randomize(model);
  const AdapterInfo info{.base_model = "bert", .task = "", .pooling = "", .labels = {}};
  save_adapter(directory.path(), model, info);
  write_seed("adapter", name, parts_of_adapter(directory.path(), "mora_config.json", "adapter.safetensors"));
  if (spec.kind == Kind::mora || routed.experts) return;
  save_peft(directory.path(), model, info, false);
  write_seed("peft", name, parts_of_adapter(directory.path(), "adapter_config.json", "adapter_model.safetensors"));
  write_seed("peft_config", name, test::read_bytes(directory / "adapter_config.json"));
}

void write_checkpoint() {
  test::TemporaryDirectory directory;
  MoRAModel model = test::small_model();
  Checkpoint state = test::state_of(7);
  MoRAOptimizer optimizer({{.name = "w", .value = Tensor::zeros({2, 2})}}, {});
  state.optimizer = optimizer.state();
  state.progression.losses.recent = {0.5, 0.25};
  state.progression.accuracies = {{0.5}, {0.5, 0.75}};
  const fs::path checkpoint = directory / "checkpoint";
  save_checkpoint(checkpoint, state, model, {});
  write_seed("checkpoint", "state", parts_of_adapter(checkpoint, "state.json", "optimizer.safetensors"));
  write_seed("checkpoint", "manifest", nul + test::read_bytes(checkpoint / "manifest.json"));
}

void write_configs() {
  const std::string smallest = "model: m\ndata: {train: t.tsv}\nout: o\n";
  write_seed("config", "smallest", smallest);
  write_seed("config", "resolved", to_yaml(parse_config(smallest, "seed")));
  write_seed("config", "adapted",
             smallest +
                 "adapter: {kind: adalora, rank: 6, adapt: {budget: 2, start: 1, end: 20, interval: 3}}\n"
                 "optimizer: {kind: lamb, lr: 1e-3, sam: {kind: looksam, rho: 0.05, interval: 5}}\n"
                 "train: {steps: 24, epochs: null, save_every: 0.5epoch, precision: bf16}\n");
}

void write_texts() {
  const char* files[] = {"text\tlabel\na film\t1\n\"quoted\tone\"\t0\n",
                         "text,label\na film,1\n\"two \"\"lines\"\"\n\",0\n",
                         "{\"text\":\"a\",\"label\":1}\n{\"messages\":[{\"role\":\"user\",\"content\":\"b\"}]}\n",
                         "one line\nand another"};
  for (size_t format = 0; format < std::size(files); ++format)  // the first byte picks the format
    write_seed("dataset", std::to_string(format), std::string(1, char(format)) + files[format]);
  write_seed("chat_template", "chatml",
             "{%- for m in messages if m.content is not none %}<|im_start|>{{ m['role'] + '\\n' + m.content|trim }}"
             "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}");
}

}  // namespace
}  // namespace mora

int main(int argc, char** argv) {
  if (argc != 2) return std::fprintf(stderr, "usage: write_fuzz_seeds DIRECTORY\n"), 2;
  mora::corpus = argv[1];
  mora::write_adapters("mora", {.kind = mora::Kind::mora, .rank = 1});
  mora::write_adapters("lora", {.kind = mora::Kind::lora, .rank = 1});
  mora::write_adapters("dora", {.kind = mora::Kind::dora, .rank = 1});
  mora::write_adapters("adalora", {.kind = mora::Kind::adalora, .rank = 1});
  mora::write_adapters("experts", {.kind = mora::Kind::lora, .rank = 1}, {.experts = mora::RoutingSpec{}, .act = {}});
  mora::write_adapters("act", {.kind = mora::Kind::mora, .rank = 1}, {.experts = {}, .act = mora::HaltingSpec{}});
  mora::write_checkpoint();
  mora::write_configs();
  mora::write_texts();
}
