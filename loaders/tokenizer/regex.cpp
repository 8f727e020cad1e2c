#include "loaders/tokenizer/regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <utility>

#include "engine/error.h"
#include "loaders/quote.h"
#include "loaders/tokenizer/codepoint.h"

namespace mora::tokenizer {
namespace {

using Clock = std::chrono::steady_clock;

template <auto Free>
struct Freed {
  template <class T>
  void operator()(T* pointer) const {
    Free(pointer);
  }
};

// What a match needs beside the code; one a thread.
struct MatchState {
  static constexpr uint32_t kSteps = 10'000'000;  // backtracks in one attempt

  std::unique_ptr<pcre2_match_data, Freed<pcre2_match_data_free>> data{pcre2_match_data_create(1, nullptr)};
  std::unique_ptr<pcre2_match_context, Freed<pcre2_match_context_free>> context{pcre2_match_context_create(nullptr)};
  std::unique_ptr<pcre2_jit_stack, Freed<pcre2_jit_stack_free>> stack{
      pcre2_jit_stack_create(32 << 10, 4 << 20, nullptr)};

  MatchState() {
    pcre2_set_match_limit(context.get(), kSteps);
    pcre2_set_heap_limit(context.get(), 64 << 10);  // KiB
    pcre2_jit_stack_assign(context.get(), nullptr, stack.get());
  }
};

class Regex : public Pattern {
 public:
  Regex(std::string_view expression, std::string name) : expression_(expression), name_(std::move(name)) {
    const std::string translated = translate_oniguruma(expression, name_);
    std::unique_ptr<pcre2_compile_context, Freed<pcre2_compile_context_free>> context(
        pcre2_compile_context_create(nullptr));
    pcre2_set_newline(context.get(), PCRE2_NEWLINE_LF);
    int error = 0;
    PCRE2_SIZE offset = 0;
    code_.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(translated.data()), translated.size(),
                              PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C | PCRE2_USE_OFFSET_LIMIT, &error, &offset,
                              context.get()));
    if (code_ == nullptr) {
      fail<IoError>("{}: the regular expression {} does not compile: {}", name_, quote(expression), message(error));
    }
    pcre2_jit_compile(code_.get(), PCRE2_JIT_COMPLETE);  // without it, the interpreter runs
  }

  void divide(std::string_view text, std::vector<Stretch>& out) const override {
    const auto deadline = Clock::now() + std::chrono::seconds(1) + text.size() * std::chrono::microseconds(2);
    size_t rest = 0, from = 0;
    bool after_match = false;  // an empty match right behind a match does not count
    for (size_t searches = 1; from <= text.size(); ++searches) {
      if (searches % 16 == 0 && Clock::now() > deadline) give_up(text, "it backtracks too much");
      const auto [begin, end] = search(text, from, deadline);
      if (begin > text.size()) break;
      if (begin == end && after_match && begin == rest) {
        if (begin == text.size()) break;
        from = begin + utf8_length(text[begin]);
        continue;
      }
      if (rest < begin) out.push_back({static_cast<uint32_t>(rest), static_cast<uint32_t>(begin), false});
      out.push_back({static_cast<uint32_t>(begin), static_cast<uint32_t>(end), true});
      rest = from = end;
      after_match = true;
    }
    if (rest < text.size()) out.push_back({static_cast<uint32_t>(rest), static_cast<uint32_t>(text.size()), false});
  }

 private:
  static constexpr size_t kNone = ~size_t{0};
  static constexpr size_t kWindow = 512;  // places where a match may begin, between two looks at the clock

  [[noreturn]] void give_up(std::string_view text, const std::string& why) const {
    fail<IoError>("{}: the regular expression {} gave up on a text of {} bytes: {}", name_, quote(expression_),
                  text.size(), why);
  }

  static std::string message(int error) {
    unsigned char text[256] = "";
    pcre2_get_error_message(error, text, sizeof text);
    return reinterpret_cast<const char*>(text);
  }

  // The first match at or behind `from`, or kNone.
  std::pair<size_t, size_t> search(std::string_view text, size_t from, Clock::time_point deadline) const {
    thread_local const MatchState state;
    while (true) {
      const size_t window = std::min(text.size(), from + kWindow);
      pcre2_set_offset_limit(state.context.get(), window);
      const int result = pcre2_match(code_.get(), reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), from,
                                     PCRE2_NO_UTF_CHECK, state.data.get(), state.context.get());
      if (result >= 0) {
        const PCRE2_SIZE* ends = pcre2_get_ovector_pointer(state.data.get());
        return {ends[0], std::max(ends[0], ends[1])};
      }
      if (result != PCRE2_ERROR_NOMATCH) give_up(text, message(result));
      if (Clock::now() > deadline) give_up(text, "it backtracks too much");
      if (window == text.size()) return {kNone, kNone};
      from = window;
      while (from < text.size() && (static_cast<uint8_t>(text[from]) & 0xC0) == 0x80) ++from;
    }
  }

  std::string expression_, name_;
  std::unique_ptr<pcre2_code, Freed<pcre2_code_free>> code_;
};

}  // namespace

std::unique_ptr<Pattern> compile_regex(std::string_view expression, const std::string& name) {
  return std::make_unique<Regex>(expression, name);
}

}  // namespace mora::tokenizer
