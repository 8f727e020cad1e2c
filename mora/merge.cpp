#include "mora/merge.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <optional>

#include "autograd/ops/matmul.h"
#include "autograd/ops/shape.h"
#include "loaders/model_files.h"
#include "loaders/staged_directory.h"
#include "mora/adapters/embedding_lora.h"
#include "mora/merged_files.h"
#include "mora/model_head.h"
#include "mora/models/registry.h"

namespace mora {
namespace {

namespace fs = std::filesystem;

// --- the sum --------------------------------------------------------------------------------------------------------

// W + ΔW in `dtype`; ΔW f64.  Both of one shape.
Tensor add_rounded(const Tensor& w, const Tensor& delta, DType dtype, const std::string& name) {
  const Tensor wide = cast(w, DType::f64);
  Tensor sum = Tensor::empty(w.shape(), dtype);
  const double *a = wide.data<double>(), *b = delta.data<double>();
  auto fill = [&]<class T>(T* to) {
    for (int64_t i = 0; i < sum.numel(); ++i) {
      const double value = a[i] + b[i];
      if constexpr (sizeof(T) >= sizeof(float))
        to[i] = T(value);
      else
        to[i] = T(round_to_odd(value));
      require<ConfigError>(std::isfinite(double(float(to[i]))), "tensor '{}': {} + {} is beyond the range of {}", name,
                           a[i], b[i], name_of(dtype));
    }
  };
  switch (dtype) {
    case DType::f64: fill(sum.mutable_data<double>()); break;
    case DType::f32: fill(sum.mutable_data<float>()); break;
    case DType::bf16: fill(sum.mutable_data<bf16_t>()); break;
    case DType::f16: fill(sum.mutable_data<f16_t>()); break;
    default: fail<ConfigError>("tensor '{}': an update of weights in {}", name, name_of(dtype));
  }
  return sum;
}

constexpr const char* kHeadWeight = "lm_head.weight";

// --- the tensors to write -------------------------------------------------------------------------------------------

// The weight that a module path stands for: a file may leave out the first word ("bert.", "model.", "transformer.").
std::string weight_of(const ModelWeights& weights, const std::string& module) {
  const std::string full = module + ".weight", shorter = full.substr(full.find('.') + 1);
  if (weights.contains(full)) return full;
  require<IoError>(weights.contains(shorter), "{}: has no tensor '{}'", weights.path().string(), full);
  return shorter;
}

struct Source {
  const ModelWeights& weights;
  MoRAModel& model;
  std::optional<DType> dtype;  // of all floating weights; nothing: their own
};

// What changes a tensor of the model.
struct Change {
  const MoRALinear* linear = nullptr;  // adds its update, or
  Tensor value = {};                   // takes the tensor's place
};

TensorToWrite merged_tensor(const Source& source, const std::string& name, const Change& change) {
  Meta meta = source.weights.meta(name);
  if (source.dtype && is_floating(meta.dtype)) meta.dtype = *source.dtype;
  // Of GPT-2's Conv1D and of embeddings the file has (in, out).
  const bool transposed = source.model.base().config().model_type == "gpt2" ||
                          (change.linear && dynamic_cast<const EmbeddingLoRA*>(&change.linear->layer()));
  return {name, meta, [&weights = source.weights, name, change, transposed, dtype = meta.dtype] {
            const NoGrad no_grad;
            if (change.value.defined()) return cast(change.value, dtype);
            const Tensor w = weights.load(name);
            if (!change.linear) return cast(w, dtype);
            const Tensor delta = change.linear->layer().merged();  // (out, in)
            return add_rounded(w, contiguous(transposed ? transpose(delta) : delta), dtype, name);
          }};
}

// The path of the embedding whose table the head reads too, where its rows change and the head's must not; else empty.
std::string untied(const MoRAModel& model) {
  const FrozenWeightPtr& head = model.base().lm_head();
  if (!head || !model.base().config().tie_word_embeddings) return "";
  for (const auto& [path, linear] : model.adapted())
    if (dynamic_cast<const EmbeddingLoRA*>(&linear->layer()) &&
        linear->frozen()->weight().raw() == head->weight().raw())
      return path;
  return "";
}

// A head that the files had not brings its family's prefix ("bert.") to all names where they lack it: transformers
// would else take the head for a part of the base model.
std::string prefix_for_head(const ModelWeights& weights, const std::string& prefix) {
  const auto names = weights.names();
  return std::ranges::any_of(names, [&](const std::string& n) { return n.starts_with(prefix); }) ? "" : prefix;
}

std::vector<TensorToWrite> tensors_to_write(const Source& source, bool new_head) {
  std::map<std::string, Change> changes;
  for (const auto& [path, linear] : source.model.adapted()) {
    const std::string weight = weight_of(source.weights, path);
    changes[weight] = {.linear = linear};
    const Tensor bias = linear->layer().merged_bias();
    if (bias.defined()) changes[weight.substr(0, weight.rfind('.')) + ".bias"] = {.value = bias.detach()};
  }
  const std::string& type = source.model.base().config().model_type;
  const std::string module = new_head ? std::string(head_module(type)) : "";
  const std::string table = untied(source.model);  // encoders have no language-model head: never beside a new one
  const std::string prefix = new_head         ? prefix_for_head(source.weights, type + ".")
                             : !table.empty() ? prefix_for_head(source.weights, table.substr(0, table.find('.') + 1))
                                              : "";
  std::vector<TensorToWrite> tensors;
  if (!table.empty()) {
    tensors.push_back(merged_tensor(source, weight_of(source.weights, table), {}));
    tensors.back().name = kHeadWeight;
  }
  std::optional<DType> dtype;
  for (const std::string& name : source.weights.names()) {
    if (!table.empty() && name == kHeadWeight) continue;
    if (new_head && (name == module + ".weight" || name == module + ".bias")) continue;
    const auto found = changes.find(name);
    tensors.push_back(merged_tensor(source, name, found == changes.end() ? Change{} : found->second));
    if (!dtype && is_floating(tensors.back().meta.dtype)) dtype = tensors.back().meta.dtype;
    tensors.back().name = prefix + name;
  }
  if (!new_head) return tensors;
  const Classifier& head = *source.model.classifier();
  for (const auto& [part, value] : {std::pair(".weight", head.weight), {".bias", head.bias}}) {
    tensors.push_back({module + part,
                       {value.shape(), dtype.value_or(DType::f32), cpu},
                       [t = value.detach(), d = dtype.value_or(DType::f32)] { return cast(t, d); }});
  }
  return tensors;
}

// --- the check ------------------------------------------------------------------------------------------------------

// Four sequences of random ids.
Sequences probe(const Model& model) {
  PackedBatch batch;
  batch.offsets = {0};
  const RandomStream stream({.purpose = Purpose::init});
  for (int64_t length : {1, 7, 16, 40}) {
    for (int32_t t = 0; t < std::min(length, model.longest_sequence()); ++t) {
      batch.ids.push_back(int32_t(stream.uniform(batch.ids.size()) * double(model.config().vocab_size)));
      batch.positions.push_back(t);
    }
    batch.offsets.push_back(int32_t(batch.ids.size()));
  }
  return to_sequences(batch);
}

Tensor outputs(const MoRAModel& model) {
  const NoGrad no_grad;
  const Sequences sequences = probe(model.base());
  Context context;
  if (model.classifier()) return contiguous(model.logits(sequences, context));
  const Tensor hidden = model.base().hidden_states(sequences, context);
  return contiguous(model.base().lm_head() ? linear(hidden, model.base().lm_head()) : hidden);
}

double largest_difference(const Tensor& a, const Tensor& b) {
  require<ShapeError>(a.shape() == b.shape(), "the merged model gives {}, the adapter's {}", b.shape(), a.shape());
  const auto x = a.values<float>(), y = b.values<float>();
  double worst = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    const double difference = std::abs(double(x[i]) - double(y[i]));
    require<Error>(std::isfinite(difference), "the merged model's outputs are not finite");
    worst = std::max(worst, difference);
  }
  return worst;
}

// A model with the head that its directory has.
MoRAModel open_model(const fs::path& path) {
  MoRAModel model(load_model(path));
  if (auto head = read_model_head(path, model.base())) model.set_head(head->pooling, std::move(head->classifier));
  return model;
}

void add_notes(const MoRAModel& model, MergeResult& result) {
  if (!untied(model).empty()) {
    result.notes.push_back(
        fmt::format("the head read the embedding's table, whose rows are now others: it is written by itself, as {}, "
                    "with tie_word_embeddings: false in config.json",
                    kHeadWeight));
  }
  if (model.classifier() && model.pooling() != Pooling::pooler) {
    result.notes.push_back(fmt::format(
        "the head pools by {}, transformers' {} by its pooler: its logits differ from mora's, which reads the pooling "
        "from config.json",
        name_of(model.pooling()), classification_class(model.base().config().model_type)));
  }
}

}  // namespace

float round_to_odd(double x) {
  const float near = float(x);
  const auto bits = std::bit_cast<uint32_t>(near);
  if (double(near) == x || (bits & 1U) || !std::isfinite(near)) return near;
  return std::bit_cast<float>(std::abs(double(near)) < std::abs(x) ? bits + 1 : bits - 1);
}

MergeResult merge_adapter(const MergeOptions& o) {
  require<ConfigError>(!fs::exists(o.out), "{}: exists already; remove it or choose another directory", o.out.string());
  const bool gguf = o.model.extension() == ".gguf";
  MergeResult result;
  Tensor expected;
  StagedDirectory staged(o.out);
  {
    MoRAModel model = open_model(o.model);
    const HfConfig& config = model.base().config();
    AdapterInfo info;
    bool new_head = false;
    if (!o.adapter.empty()) {
      const bool had_head = model.classifier().has_value();
      const Classifier before = had_head ? *model.classifier() : Classifier{};
      info = load_adapter(o.adapter, model);
      new_head = model.classifier() && !(had_head && model.classifier()->weight.same_as(before.weight));
    }
    require<ConfigError>(!new_head || !head_module(config.model_type).empty(),
                         "{}: a classification head on a {} model: Hugging Face's class for it reads the last token "
                         "and computes something else; keep the adapter",
                         o.adapter.string(), config.model_type);
    expected = outputs(model);
    write_text_files(o.model, o.adapter, o.gguf_dtype, staged.path());
    if (!untied(model).empty()) untie_head(staged.path());
    if (new_head) describe_head(staged.path(), config, info, model.pooling(), model.classifier()->weight.dim(0));
    const auto weights = open_model_files(o.model).weights;
    auto tensors = tensors_to_write({*weights, model, gguf ? std::optional(o.gguf_dtype) : std::nullopt}, new_head);
    result.tensors = int64_t(tensors.size());
    result.merged = int64_t(model.adapted().size());
    add_notes(model, result);
    write_model_weights(staged.path(), std::move(tensors), o.shard_bytes);
  }
  result.max_abs_error = largest_difference(expected, outputs(open_model(staged.path())));
  staged.commit();
  return result;
}

}  // namespace mora
