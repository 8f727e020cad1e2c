#include "mora/training/task_data.h"

#include <algorithm>

#include "engine/error.h"
#include "loaders/causal.h"
#include "loaders/dataset.h"
#include "loaders/labels.h"
#include "loaders/model_text.h"

namespace mora {
namespace {

// How many special tokens the tokenizer puts behind a text.
size_t specials_behind(const Tokenizer& tokenizer) {
  const size_t bare = tokenizer.encode("a", false).size();
  const std::vector<int32_t> full = tokenizer.encode("a", true);
  size_t behind = 0;
  while (behind + bare < full.size() && tokenizer.is_special(full[full.size() - 1 - behind])) ++behind;
  return behind;
}

// [CLS] a b c d [SEP] cut to n tokens keeps what the tokenizer adds behind the text.
void truncate(std::vector<int32_t>& v, size_t limit, size_t behind) {
  if (v.size() <= limit) return;
  const auto tail = v.end() - ptrdiff_t(std::min(behind, limit));
  v.erase(tail - ptrdiff_t(v.size() - limit), tail);
}

CausalColumns columns_of(const TaskDataOptions& o) {
  const DataConfig& d = o.columns;
  if (d.messages) return {CausalKind::messages, {*d.messages}, {"tools"}};
  if (d.prompt && d.completion) return {CausalKind::completion, {*d.prompt, *d.completion}, {}};
  return causal_columns(d.text.value_or("text"), column_names(expand_files(o.files)));
}

DataOptions dataset_options(const TaskDataOptions& o) {
  if (o.task == Task::causal_lm) {
    const CausalColumns columns = columns_of(o);
    return {o.files, columns.columns, columns.optional};
  }
  std::vector<std::string> columns = {o.columns.text.value_or("text")};
  if (o.labelled) columns.push_back(o.columns.label.value_or("label"));
  return {o.files, std::move(columns), {}};
}

}  // namespace

// From a row of the files to an example.
class TaskData::Reader {
 public:
  Reader(const TaskDataOptions& options, const std::filesystem::path& model)
      : options_(options),
        data_(dataset_options(options)),
        tokenizer_(load_tokenizer(model)),
        behind_(specials_behind(tokenizer_)) {
    if (options.task == Task::causal_lm) {
      causal_.emplace(
          columns_of(options), tokenizer_, load_chat_template(model),
          CausalOptions{.max_length = options.columns.max_length, .append_eos = options.columns.append_eos});
    } else if (options.task == Task::classification && options.labelled) {
      names_ = options.known_labels.empty() ? LabelNames::collect(data_, 1) : LabelNames(options.known_labels);
    }
  }

  int64_t rows() const { return data_.size(); }
  const std::vector<std::string>& labels() const {
    static const std::vector<std::string> none;
    return names_ ? names_->names() : none;
  }

  Example read(int64_t i, CausalWarnings& warnings) const {
    const Row row = data_.read(i);
    if (causal_) return causal_->encode(row, warnings);
    const auto limit = size_t(options_.columns.max_length);
    Encoding encoding = tokenizer_.encode_typed(options_.labelled ? text_of(row, 0) : text_or_empty(row, 0));
    require<IoError>(!encoding.ids.empty(), "{}: column '{}': the text has no tokens", row.where, row.fields[0].name);
    ++warnings.rows;
    warnings.truncated += encoding.ids.size() > limit;
    truncate(encoding.ids, limit, behind_);
    truncate(encoding.type_ids, limit, behind_);
    Example example;
    example.ids = std::move(encoding.ids);
    example.type_ids = std::move(encoding.type_ids);
    if (names_) example.label = names_->id_of(row, 1);
    if (options_.task == Task::regression && options_.labelled) example.target = target_of(row, 1);
    return example;
  }

  std::string text(int64_t i) const {
    const Row row = data_.read(i);
    return options_.labelled ? text_of(row, 0) : text_or_empty(row, 0);
  }

 private:
  TaskDataOptions options_;
  Dataset data_;
  Tokenizer tokenizer_;
  size_t behind_;
  std::optional<CausalEncoder> causal_;
  std::optional<LabelNames> names_;
};

TaskData::TaskData(const TaskDataOptions& options, const std::filesystem::path& model)
    : reader_(std::make_shared<Reader>(options, model)) {
  require<IoError>(reader_->rows() > 0, "{}: no rows", options.files.empty() ? "data" : options.files.front());
  CausalWarnings warnings;
  for (int64_t i = 0; i < reader_->rows(); ++i) {
    const int64_t cut_before = warnings.truncated;
    rows_.push_back(i);
    lengths_.push_back(int32_t(reader_->read(i, warnings).ids.size()));
    cut_.push_back(warnings.truncated > cut_before);
  }
  if (options.task == Task::causal_lm) CausalEncoder::require_trained(warnings);
  warnings_ = warnings.lines();
}

Example TaskData::example(int64_t i) const {
  CausalWarnings said_before;
  return reader_->read(rows_[size_t(i)], said_before);
}

std::string TaskData::text(int64_t i) const { return reader_->text(rows_[size_t(i)]); }

PackedBatch TaskData::batch(std::span<const int64_t> examples) const {
  std::vector<Example> made;
  std::vector<const Example*> pointers;
  for (int64_t i : examples) made.push_back(example(i));
  for (const Example& e : made) pointers.push_back(&e);
  return pack(pointers, examples);
}

const std::vector<std::string>& TaskData::labels() const {
  static const std::vector<std::string> none;
  return reader_ ? reader_->labels() : none;
}

std::vector<int64_t> TaskData::rows_by_label() const {
  std::vector<int64_t> counts(labels().size(), 0);
  for (int64_t i = 0; i < size(); ++i) ++counts[size_t(example(i).label)];
  return counts;
}

void TaskData::add_to(Checksum& sum) const {
  const size_t rows = lengths_.size();
  sum.update(&rows, sizeof rows);
  sum.update(lengths_.data(), rows * sizeof lengths_[0]);
}

TaskData TaskData::subset(std::span<const int64_t> chosen) const {
  TaskData part;
  part.reader_ = reader_;
  for (int64_t i : chosen) {
    part.rows_.push_back(rows_[size_t(i)]);
    part.lengths_.push_back(lengths_[size_t(i)]);
    part.cut_.push_back(cut_[size_t(i)]);
  }
  return part;
}

}  // namespace mora
