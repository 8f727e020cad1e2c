#include "mora/training/sequence_data.h"

#include "engine/error.h"
#include "loaders/dataset.h"
#include "loaders/labels.h"

namespace mora {
namespace {

// [CLS] a b c d [SEP] cut to n tokens keeps what the tokenizer adds behind the text.
void truncate(Encoding& encoding, int64_t limit, size_t added_behind) {
  const auto n = size_t(limit);
  auto cut = [&](std::vector<int32_t>& v) {
    if (v.size() <= n) return;
    v.erase(v.end() - ptrdiff_t(v.size() - n) - ptrdiff_t(added_behind), v.end() - ptrdiff_t(added_behind));
  };
  cut(encoding.ids);
  cut(encoding.type_ids);
}

// How many special tokens the tokenizer puts behind a text.
size_t specials_behind(const Tokenizer& tokenizer) {
  const std::vector<int32_t> bare = tokenizer.encode("a", false), full = tokenizer.encode("a", true);
  size_t behind = 0;
  while (behind + bare.size() < full.size() && tokenizer.is_special(full[full.size() - 1 - behind])) ++behind;
  return behind;
}

}  // namespace

std::vector<int32_t> SequenceData::lengths() const {
  std::vector<int32_t> result;
  result.reserve(examples.size());
  for (const Example& e : examples) result.push_back(int32_t(e.ids.size()));
  return result;
}

SequenceData read_sequences(const SequenceDataOptions& options, const Tokenizer& tokenizer) {
  const Dataset rows({.files = options.files,
                      .columns = options.label ? std::vector{options.text, *options.label} : std::vector{options.text},
                      .optional = {}});
  SequenceData data;
  std::optional<LabelNames> names;
  if (options.task == Task::classification && options.label) {
    names = options.known_labels.empty() ? LabelNames::collect(rows, 1) : LabelNames(options.known_labels);
    data.labels = names->names();
  }
  const size_t behind = specials_behind(tokenizer);
  data.examples.resize(size_t(rows.size()));
  for (int64_t i = 0; i < rows.size(); ++i) {
    const Row row = rows.read(i);
    Example& example = data.examples[size_t(i)];
    Encoding encoding = tokenizer.encode_typed(options.label ? text_of(row, 0) : text_or_empty(row, 0));
    require<IoError>(!encoding.ids.empty(), "{}: column '{}': the text has no tokens", row.where, options.text);
    data.truncated += int64_t(encoding.ids.size()) > options.max_length;
    truncate(encoding, options.max_length, std::min(behind, size_t(options.max_length)));
    example.ids = std::move(encoding.ids);
    example.type_ids = std::move(encoding.type_ids);
    if (names) example.label = names->id_of(row, 1);
    if (options.task == Task::regression && options.label) example.target = target_of(row, 1);
  }
  require<IoError>(data.size() > 0, "{}: no rows", options.files.empty() ? "data" : options.files.front());
  return data;
}

std::pair<SequenceData, SequenceData> split(SequenceData data, double valid_fraction, uint64_t seed) {
  const RowSplit parts = split_rows(data.size(), valid_fraction, seed);
  auto take = [&](const std::vector<int64_t>& rows) {
    SequenceData part;
    part.labels = data.labels;
    for (int64_t r : rows) part.examples.push_back(std::move(data.examples[size_t(r)]));
    return part;
  };
  SequenceData train = take(parts.train);
  return {std::move(train), take(parts.valid)};
}

PackedBatch pack_rows(const SequenceData& data, std::span<const int64_t> rows) {
  std::vector<const Example*> examples;
  for (int64_t r : rows) examples.push_back(&data.examples[size_t(r)]);
  return pack(examples, rows);
}

}  // namespace mora
