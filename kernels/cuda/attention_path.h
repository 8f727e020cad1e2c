// Which kernels compute attention on a card.
#pragma once

#include <string_view>

namespace mora::kernels::cuda {

// own: ours, whose results are the same bits each time. fastest: for each shape the faster of ours and cuDNN's, both
// timed when it first occurs; cuDNN's gradients are sums in no fixed order. cudnn: cuDNN's, a DeviceError where it has
// none for a shape; for tests and measuring.
enum class AttentionPath { own, fastest, cudnn };

// Throws ConfigError that names MORA_ATTENTION for anything but those three names.
AttentionPath parse_attention_path(std::string_view name);
// What MORA_ATTENTION names, `own` where it is not set, or what was set since.
[[gnu::weak]] AttentionPath attention_path();
[[gnu::weak]] void set_attention_path(AttentionPath path);

// Sets it for as long as it lives.
class ScopedAttentionPath {
 public:
  explicit ScopedAttentionPath(AttentionPath path) : before_(attention_path()) { set_attention_path(path); }
  ~ScopedAttentionPath() { set_attention_path(before_); }
  ScopedAttentionPath(const ScopedAttentionPath&) = delete;
  ScopedAttentionPath& operator=(const ScopedAttentionPath&) = delete;

 private:
  AttentionPath before_;
};

}  // namespace mora::kernels::cuda
