// Attention and its gradients written out in f64, one score at a time.
#pragma once

#include <algorithm>
#include <limits>

#include "kernels/attention.h"
#include "kernels/values.h"

namespace mora::test {

struct AttentionSizes {
  int64_t heads, kv_heads, dim;
  std::vector<int32_t> q_offsets, kv_offsets;
  kernels::AttentionShape shape;

  int64_t queries() const { return q_offsets.back(); }
  int64_t keys() const { return kv_offsets.back(); }
};

struct AttentionResult {
  Values y, lse;
};
struct AttentionGradients {
  Values q, k, v;
};

// Calls f(query, head, first_key, last_key) for every query, in the packed numbering; last_key exclusive.
template <class F>
void for_each_query(const AttentionSizes& s, F f) {
  for (size_t b = 0; b + 1 < s.q_offsets.size(); ++b) {
    const int64_t queries = s.q_offsets[b + 1] - s.q_offsets[b];
    const int64_t keys = s.kv_offsets[b + 1] - s.kv_offsets[b];
    for (int64_t i = 0; i < queries; ++i) {
      int64_t first = 0, last = keys;
      if (s.shape.causal) last = i + (keys - queries) + 1;
      if (s.shape.causal && s.shape.window > 0) first = last - s.shape.window;
      for (int64_t h = 0; h < s.heads; ++h)
        f(s.q_offsets[b] + i, h, s.kv_offsets[b] + std::max<int64_t>(first, 0), s.kv_offsets[b] + last);
    }
  }
}

inline double dot(const double* a, const double* b, int64_t n) {
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += a[i] * b[i];
  return sum;
}

inline AttentionResult attention_reference(const AttentionSizes& s, const Values& q, const Values& k, const Values& v) {
  AttentionResult r{Values(q.size()), Values(size_t(s.queries() * s.heads))};
  for_each_query(s, [&](int64_t n, int64_t h, int64_t first, int64_t last) {
    const int64_t g = h / (s.heads / s.kv_heads);
    double largest = -std::numeric_limits<double>::infinity(), sum = 0;
    Values score;
    for (int64_t m = first; m < last; ++m) {
      score.push_back(s.shape.scale *
                      dot(&q[size_t((n * s.heads + h) * s.dim)], &k[size_t((m * s.kv_heads + g) * s.dim)], s.dim));
      largest = std::max(largest, score.back());
    }
    for (double x : score) sum += std::exp(x - largest);
    r.lse[size_t(n * s.heads + h)] = largest + std::log(sum);
    if (std::isinf(largest)) r.lse[size_t(n * s.heads + h)] = largest;
    for (int64_t m = first; m < last; ++m) {
      const double p = std::exp(score[size_t(m - first)] - largest) / sum;
      for (int64_t i = 0; i < s.dim; ++i)
        r.y[size_t((n * s.heads + h) * s.dim + i)] += p * v[size_t((m * s.kv_heads + g) * s.dim + i)];
    }
  });
  return r;
}

inline AttentionGradients attention_gradients_reference(const AttentionSizes& s, const Values& q, const Values& k,
                                                        const Values& v, const Values& gy) {
  const AttentionResult r = attention_reference(s, q, k, v);
  AttentionGradients g{Values(q.size()), Values(k.size()), Values(v.size())};
  for_each_query(s, [&](int64_t n, int64_t h, int64_t first, int64_t last) {
    const size_t at = size_t((n * s.heads + h) * s.dim);
    const double delta = dot(&r.y[at], &gy[at], s.dim);
    for (int64_t m = first; m < last; ++m) {
      const size_t to = size_t((m * s.kv_heads + h / (s.heads / s.kv_heads)) * s.dim);
      const double p = std::exp(s.shape.scale * dot(&q[at], &k[to], s.dim) - r.lse[size_t(n * s.heads + h)]);
      const double gs = s.shape.scale * p * (dot(&gy[at], &v[to], s.dim) - delta);
      for (size_t i = 0; i < size_t(s.dim); ++i) {
        g.v[to + i] += p * gy[at + i];
        g.q[at + i] += gs * k[to + i];
        g.k[to + i] += gs * q[at + i];
      }
    }
  });
  return g;
}

}  // namespace mora::test
