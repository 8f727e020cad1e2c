#include "mora/training/checkpoint.h"

#include <nlohmann/json.hpp>

#include "loaders/checksum.h"
#include "loaders/durable_file.h"
#include "loaders/json.h"
#include "loaders/json_fields.h"
#include "loaders/safetensors.h"

namespace mora {
namespace {

using Json = nlohmann::ordered_json;

constexpr int64_t format_version = 7;
constexpr int64_t no_limit = INT64_MAX;
constexpr const char *optimizer_file = "optimizer.safetensors", *ranks_file = "ranks.safetensors",
                     *learning_file = "learning.safetensors", *state_file = "state.json";
constexpr const char* member_files[] = {"mora_config.json", "adapter.safetensors", optimizer_file,
                                        ranks_file,         learning_file,         state_file};

void write_tensors(const std::filesystem::path& file, const std::vector<NamedTensor>& tensors) {
  std::map<std::string, Tensor> by_name;
  for (const NamedTensor& t : tensors) by_name[t.name] = t.tensor;
  write_safetensors(file, by_name, {{"format", "mora"}});
}

std::vector<NamedTensor> read_tensors(const std::filesystem::path& path) {
  const SafetensorsFile file = SafetensorsFile::open(path);
  std::vector<NamedTensor> tensors;
  for (const TensorInfo& t : file.tensors()) tensors.push_back({t.name, file.tensor(t)});
  return tensors;
}

Json to_json(const Progression& p) {
  Json j;
  j["step"] = p.step;
  j["epoch"] = p.epoch;
  j["batch"] = p.batch;
  j["micro_batch"] = p.micro_batch;
  j["tokens"] = p.tokens;
  j["seconds"] = p.seconds;
  j["loss_sum"] = p.loss_sum;
  j["skipped"] = p.skipped;
  j["best"] = p.best ? Json(*p.best) : Json(nullptr);
  j["evaluations_since_best"] = p.evaluations_since_best;
  j["recent_losses"] = p.losses.recent;
  j["start_loss"] = p.losses.start;
  j["spikes"] = p.losses.spikes;
  j["far_above_start"] = p.losses.far_above_start;
  j["last_rank_event"] = p.last_rank_event ? Json(*p.last_rank_event) : Json(nullptr);
  j["applied"] = p.applied;
  j["loss_scale"] = p.scaler.scale;
  j["loss_scale_age"] = p.scaler.applied;
  j["task"] = p.task;
  j["task_start"] = p.task_start;
  j["accuracies"] = p.accuracies;
  return j;
}

LossHistory losses_from(const JsonFields& f) {
  LossHistory losses;
  for (const nlohmann::json& loss : f.require_member("recent_losses")) {
    require<IoError>(loss.is_number(), "{}: expected numbers, got {}", f.place("recent_losses"), describe(loss));
    losses.recent.push_back(loss.get<double>());
  }
  losses.start = f.number("start_loss", -1e300, 1e300);
  losses.spikes = f.integer("spikes", 0, no_limit);
  losses.far_above_start = f.integer("far_above_start", 0, no_limit);
  return losses;
}

Progression progression_from(const JsonFields& f) {
  Progression p;
  p.step = f.integer("step", 0, no_limit);
  p.epoch = f.integer("epoch", 0, no_limit);
  p.batch = f.integer("batch", 0, no_limit);
  p.micro_batch = f.integer("micro_batch", 0, no_limit);
  p.tokens = f.integer("tokens", 0, no_limit);
  p.seconds = f.number("seconds", 0, 1e300);
  p.loss_sum = f.number("loss_sum", -1e300, 1e300);
  p.skipped = f.integer("skipped", 0, no_limit);
  if (f.has("best")) p.best = f.number("best", -1e300, 1e300);
  p.evaluations_since_best = f.integer("evaluations_since_best", 0, no_limit);
  p.losses = losses_from(f);
  if (f.has("last_rank_event")) p.last_rank_event = f.integer("last_rank_event", 0, no_limit);
  p.applied = f.integer("applied", 0, no_limit);
  p.scaler.scale = f.number("loss_scale", 0, 1e300);
  p.scaler.applied = f.integer("loss_scale_age", 0, GradScaler::kInterval);
  p.task = f.integer("task", 0, no_limit);
  p.task_start = f.integer("task_start", 0, no_limit);
  for (const nlohmann::json& row : f.require_member("accuracies"))
    for (std::vector<double>& values = p.accuracies.emplace_back(); const nlohmann::json& value : row)
      values.push_back(value.is_number() ? value.get<double>() : 0);
  return p;
}

// Gives the update that the manifest says the checkpoint is of.
int64_t check_manifest(const std::filesystem::path& directory) {
  const auto path = directory / "manifest.json";
  const nlohmann::json document = read_json(path);
  const JsonFields manifest(document, path.string());
  const int64_t version = manifest.integer("format", 1, no_limit);
  require<IoError>(version == format_version, "{}: format {}: written by {} mora; this one reads {}", path.string(),
                   version, version > format_version ? "a newer" : "an older", format_version);
  const JsonFields files(manifest.require_member("files"), manifest.place("files"));
  for (const char* name : member_files) {
    const JsonFields entry(files.require_member(name), files.place(name));
    const auto file = directory / name;
    require<IoError>(std::filesystem::is_regular_file(file), "{}: missing from the checkpoint", file.string());
    const auto size = int64_t(std::filesystem::file_size(file));
    require<IoError>(size == entry.integer("bytes", 0, no_limit), "{}: {} bytes, the manifest says {}", file.string(),
                     size, entry.integer("bytes", 0, no_limit));
    require<IoError>(checksum_text(checksum_file(file)) == entry.string("xxh3"),
                     "{}: its checksum is not the manifest's: the file is damaged", file.string());
  }
  return manifest.integer("step", 0, no_limit);
}

}  // namespace

void save_checkpoint(const std::filesystem::path& directory, const Checkpoint& checkpoint, MoRAModel& model,
                     const AdapterInfo& info) {
  StagedDirectory staged(directory);
  save_adapter(staged.path(), model, info);
  write_tensors(staged.path() / optimizer_file, checkpoint.optimizer);
  write_tensors(staged.path() / ranks_file, checkpoint.ranks);
  write_tensors(staged.path() / learning_file, checkpoint.learning);
  Json state = to_json(checkpoint.progression);
  state["config"] = checkpoint.config;
  state["data"] = checkpoint.data;
  write_durable(staged.path() / state_file, state.dump(2) + "\n");
  Json manifest, files;
  for (const char* name : member_files) {
    files[name] = {{"bytes", std::filesystem::file_size(staged.path() / name)},
                   {"xxh3", checksum_text(checksum_file(staged.path() / name))}};
  }
  manifest["format"] = format_version;
  manifest["step"] = checkpoint.progression.step;
  manifest["files"] = files;
  write_durable(staged.path() / "manifest.json", manifest.dump(2) + "\n");
  staged.commit();
}

Checkpoint load_checkpoint(const std::filesystem::path& directory) {
  const int64_t step = check_manifest(directory);
  const auto state_path = directory / state_file;
  const nlohmann::json document = read_json(state_path);
  const JsonFields state(document, state_path.string());
  const Progression at = progression_from(state);
  require<IoError>(at.step == step, "{}: of update {}, the manifest says {}", state_path.string(), at.step, step);
  return {at,
          read_tensors(directory / optimizer_file),
          read_tensors(directory / ranks_file),
          read_tensors(directory / learning_file),
          state.string("config"),
          state.string("data")};
}

bool resume_newest(RunDirectory& run, FunctionRef<void(const std::filesystem::path&)> load,
                   FunctionRef<void(const std::string&)> note) {
  const std::vector<int64_t> steps = run.checkpoints();
  if (steps.empty())  // it was killed before its first
    note(run.path().string() + ": no checkpoint yet; starting again from the beginning");
  for (size_t i = steps.size(); i-- > 0;) {
    try {
      load(run.checkpoint(steps[i]));
      for (size_t damaged = i + 1; damaged < steps.size(); ++damaged) run.set_aside(steps[damaged]);
      return true;
    } catch (const IoError& error) {
      if (i == 0) throw;
      note(fmt::format("warning: {}; going back to the checkpoint before it", error.what()));
    }
  }
  return false;
}

void check_same_run(const Checkpoint& checkpoint, const Config& config, const std::string& data) {
  require<ConfigError>(checkpoint.config == to_yaml(config),
                       "{0}: the configuration is not the one the run was started with ({0}/config.yaml); resume with "
                       "the same",
                       config.out);
  require<ConfigError>(checkpoint.data == data,
                       "{}: the training rows are not those the run was started with; resume with the same data",
                       config.out);
}

}  // namespace mora
