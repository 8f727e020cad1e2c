// What the forward and the backward of attention share that is not arithmetic: the checked sizes, which keys a query
// sees, and how the work is cut into pieces.
//
// The query heads of a group read the same keys, so the queries of one sequence and one kv head are stacked into rows:
// row = query · group + (head within the group). A piece is a run of rows; no result depends on which thread takes it.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "engine/parallel.h"
#include "kernels/attention.h"

namespace mora::kernels::cpu {

struct Range {
  int64_t begin = 0, end = 0;
  int64_t size() const { return std::max<int64_t>(0, end - begin); }
  bool empty() const { return end <= begin; }
};

// A tensor (N, heads, D) of any floating dtype as rows of D elements.
struct HeadRows {
  // `heads_apart`: how far off the head is whose row is wanted next after a whole head was read.
  explicit HeadRows(const Tensor& t, int64_t heads_apart = 1)
      : data(static_cast<const std::byte*>(t.raw())),
        dtype(t.dtype()),
        token_stride(t.strides()[0]),
        head_stride(t.strides()[1]),
        next(heads_apart * head_stride) {}
  HeadRows(const void* rows, DType type, int64_t of_token, int64_t of_head)
      : data(static_cast<const std::byte*>(rows)),
        dtype(type),
        token_stride(of_token),
        head_stride(of_head),
        next(of_head) {}
  template <class S>
  const S* row(int64_t token, int64_t head) const {
    return reinterpret_cast<const S*>(data) + token * token_stride + head * head_stride;
  }

  const std::byte* data;
  DType dtype;
  int64_t token_stride, head_stride;
  int64_t next;  // elements from a row to the one to prefetch
};

struct AttentionPlan {
  int64_t sequences = 0;
  int64_t heads = 0;     // H
  int64_t kv_heads = 0;  // G
  int64_t group = 0;     // H / G
  int64_t dim = 0;       // D
  const int32_t* q_offsets = nullptr;
  const int32_t* kv_offsets = nullptr;
  int64_t longest = 0;  // keys of the sequence that has the most
  AttentionShape shape;

  int64_t queries(int64_t b) const { return q_offsets[b + 1] - q_offsets[b]; }
  int64_t keys(int64_t b) const { return kv_offsets[b + 1] - kv_offsets[b]; }
  int64_t rows(int64_t b) const { return queries(b) * group; }
  // The keys that a query of sequence b sees. Both ends never fall from one query to the next.
  Range visible_to(int64_t b, int64_t query) const {
    if (!shape.causal) return {0, keys(b)};
    const int64_t end = query + keys(b) - queries(b) + 1;
    return {shape.window > 0 ? std::max<int64_t>(0, end - shape.window) : 0, std::max<int64_t>(0, end)};
  }
  // The keys that at least one of the given rows sees; rows not empty.
  Range visible(int64_t b, Range rows_of_b) const {
    return {visible_to(b, rows_of_b.begin / group).begin, visible_to(b, (rows_of_b.end - 1) / group).end};
  }
  // Calls f(i, query, head within the group) for the i-th of the given rows.
  template <class F>
  void for_each_row(Range rows_of_b, F f) const {
    int64_t query = rows_of_b.begin / group, head = rows_of_b.begin % group;
    for (int64_t i = 0; i < rows_of_b.size(); ++i) {
      f(i, query, head);
      if (++head == group) {
        head = 0;
        ++query;
      }
    }
  }
};

struct AttentionPiece {
  int64_t sequence;
  int64_t kv_head;
  Range rows;
  int64_t cost;  // scores to compute, and a constant part
};

struct AttentionGradient {
  AttentionPlan plan;
  HeadRows q, k, v, y, gy, gq, gk, gv;
  const void* lse;
};

// Checks the tensors of a forward against each other and reads the sizes. Throws ShapeError or DTypeError.
AttentionPlan plan_attention(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& q_offsets,
                             const Tensor& kv_offsets, const Tensor& y, const Tensor& lse, const AttentionShape& shape);
// The same for a backward; the gradients' versions move.
AttentionGradient plan_attention_gradient(const AttentionPlan& plan, const Tensor& q, const Tensor& k, const Tensor& v,
                                          const Tensor& y, const Tensor& lse, const Tensor& gy, Tensor& gq, Tensor& gk,
                                          Tensor& gv);

// The rows of every (sequence, kv head), in that order, cut so that no piece is longer than `rows_per_piece`.
std::vector<AttentionPiece> cut_rows(const AttentionPlan& plan, int64_t rows_per_piece);

// Calls f(begin, end) with runs of pieces of nearly equal cost, one a thread.
void parallel_for_pieces(const std::vector<AttentionPiece>& pieces, FunctionRef<void(int64_t begin, int64_t end)> f);

}  // namespace mora::kernels::cpu
