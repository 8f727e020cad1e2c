// Tokenizer::encode on one thread: bench_tokenizer MODEL TEXT. Checks that text comes back where the model keeps all of
// it, then prints megabytes a second, line by line and as one text, median of seven.
//
// The peer, on the same file, one thread (pip install tokenizers):
//   RAYON_NUM_THREADS=1 python3 -c 'import sys,time,tokenizers as t; k=t.Tokenizer.from_file(sys.argv[1]);
//   k.no_truncation() k.no_padding(); s=open(sys.argv[2],"rb").read(); l=s.decode(errors="replace").split("\n");
//   k.encode_batch_fast(l) a=time.time(); k.encode_batch_fast(l); print("lines %.2f MB/s" %
//   (len(s)/(time.time()-a)/1e6))' MODEL/tokenizer.json TEXT
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/error.h"
#include "loaders/regular_file.h"
#include "loaders/tokenizer/tokenizer.h"
#include "loaders/utf8.h"

namespace {

double median_seconds(const std::function<size_t()>& work, size_t& tokens) {
  std::vector<double> times;
  for (int i = 0; i < 7; ++i) {
    const auto start = std::chrono::steady_clock::now();
    tokens = work();
    times.push_back(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }
  std::nth_element(times.begin(), times.begin() + 3, times.end());
  return times[3];
}

void report(std::string_view name, size_t bytes, const std::function<size_t()>& work) {
  size_t tokens = 0;
  const double seconds = median_seconds(work, tokens);
  fmt::print("{:6} {:8.2f} MB/s  {} tokens\n", name, static_cast<double>(bytes) / seconds / 1e6, tokens);
}

void run(const char* model, const char* file) {
  const auto tokenizer = mora::Tokenizer::load(model);
  const std::string text = mora::replace_invalid_utf8(mora::read_regular_file(file, size_t{1} << 30));
  std::vector<std::string_view> lines;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    lines.push_back(std::string_view(text).substr(begin, end - begin));
    begin = end + 1;
  }
  const auto once = tokenizer.encode(text, false);
  const auto again = tokenizer.encode(tokenizer.decode(once, false), false);
  fmt::print("check: {} tokens, {} after decoding and encoding\n", once.size(), again.size());
  report("lines", text.size(), [&] {
    size_t tokens = 0;
    for (const std::string_view line : lines) tokens += tokenizer.encode(line).size();
    return tokens;
  });
  report("whole", text.size(), [&] { return tokenizer.encode(text).size(); });
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    fmt::print(stderr, "usage: bench_tokenizer MODEL TEXT\n");
    return 2;
  }
  try {
    run(argv[1], argv[2]);
  } catch (const mora::Error& error) {
    fmt::print(stderr, "error: {}\n", error.what());
    return 1;
  }
}
