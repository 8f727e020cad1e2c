// Tokenizer::encode on one thread, in megabytes of text a second, line by line and as one text.
//
// The peer, on the same file, one thread (pip install tokenizers):
//   RAYON_NUM_THREADS=1 python3 -c 'import sys,time,tokenizers as t; k=t.Tokenizer.from_file(sys.argv[1]);
//   k.no_truncation() k.no_padding(); s=open(sys.argv[2],"rb").read(); l=s.decode(errors="replace").split("\n");
//   k.encode_batch_fast(l) a=time.time(); k.encode_batch_fast(l); print("lines %.2f MB/s" %
//   (len(s)/(time.time()-a)/1e6))' MODEL/tokenizer.json TEXT
#include "loaders/tokenizer/tokenizer.h"

#include "bench/bench.h"
#include "loaders/model_text.h"
#include "loaders/regular_file.h"
#include "loaders/utf8.h"

namespace mora::bench {

void tokenizer(const Inputs& inputs, Report report) {
  const Tokenizer encoder = load_tokenizer(inputs.model);
  const std::string text = replace_invalid_utf8(read_regular_file(inputs.text, size_t{1} << 30));
  std::vector<std::string_view> lines;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    lines.push_back(std::string_view(text).substr(begin, end - begin));
    begin = end + 1;
  }
  // Ids of what ids decode to are those ids again, even where the model does not keep all of a text.
  const std::string kept = encoder.decode(encoder.encode(text, false), false);
  const auto ids = encoder.encode(kept, false);
  require<Error>(ids == encoder.encode(encoder.decode(ids, false), false), "bench: {}: ids change in a round trip",
                 inputs.model);
  const auto add = [&](const char* what, FunctionRef<void()> run) {
    const double seconds = median_seconds(run);
    report({.name = fmt::format("{} of {} bytes", what, text.size()),
            .seconds = seconds,
            .rate = double(text.size()) / seconds / 1e6,
            .unit = "MB/s"});
  };
  add("lines", [&] {
    for (const std::string_view line : lines) encoder.encode(line);
  });
  add("one text", [&] { encoder.encode(text); });
}

}  // namespace mora::bench
