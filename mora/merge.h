// W' = W + ΔW: an adapter written into its model, as a Hugging Face directory of its own.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "engine/dtype.h"

namespace mora {

struct MergeOptions {
  std::filesystem::path model;    // a Hugging Face directory or a .gguf file
  std::filesystem::path adapter;  // empty: the model is converted as it is
  std::filesystem::path out;      // made by the merge
  DType gguf_dtype = DType::f32;  // of the weights of a .gguf file; a directory keeps its dtypes
  size_t shard_bytes = 5'000'000'000;
};

struct MergeResult {
  int64_t tensors = 0;             // written
  int64_t merged = 0;              // of them, those that an update was added to
  double max_abs_error = 0;        // of the merged model's logits (hidden states without a head) against the adapter's
  std::vector<std::string> notes;  // what the user should know, one line each
};

// The sum is taken in f64 and rounded once to the weight's dtype. A trained classifier becomes the head of the family's
// …ForSequenceClassification, with its labels in config.json; all files that hold no weights are copied. Weights are
// read, changed and written one at a time, and the directory appears whole or not at all. Throws ConfigError for an
// adapter that is no update of the weights, a head that no Hugging Face class computes, or an `out` that exists;
// IoError for files.
MergeResult merge_adapter(const MergeOptions& options);

// x to bf16 or f16 by way of f32 without rounding twice: the f32 next to x whose last bit is 1 where x is no f32
// (rounding to odd; Boldo and Melquiond 2008, "Emulation of FMA and correctly rounded sums").
float round_to_odd(double x);

}  // namespace mora
