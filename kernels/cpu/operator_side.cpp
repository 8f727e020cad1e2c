#include "kernels/cpu/operator_side.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <mutex>
#include <set>
#include <tuple>

namespace mora::kernels::cpu {
namespace {

template <class C>
void set_angles(int64_t chunks, Side<C>& side) {
  for (int64_t c = 0; c < chunks; ++c)
    for (int64_t j = 0; j < side.rank / 2; ++j) {
      const double angle = double(c) * std::pow(10000.0, -2.0 * double(j) / double(side.rank));
      side.cos.push_back(C(std::cos(angle)));
      side.sin.push_back(C(std::sin(angle)));
    }
}

// Positions p in [begin, end) of a row of `wide` elements repeated, against position p mod `narrow` of the other side.
std::vector<Run> runs(int64_t begin, int64_t end, int64_t wide, int64_t narrow) {
  std::vector<Run> result;
  for (int64_t p = begin; p < end; p += result.back().length)
    result.push_back({p % wide, p % narrow, std::min({end - p, wide - p % wide, narrow - p % narrow})});
  return result;
}

// The same, cut where runs begin or end, so that no two stacks share an element of narrow.
std::vector<Stack> stacks(const std::vector<Run>& runs) {
  std::set<int64_t> cuts;
  for (const Run& run : runs) cuts.insert({run.narrow, run.narrow + run.length});
  std::vector<Stack> result;
  for (auto cut = cuts.begin(); std::next(cut) != cuts.end(); ++cut) {
    Stack stack{*cut, *std::next(cut) - *cut, {}};
    for (const Run& run : runs)
      if (run.narrow <= *cut && *cut < run.narrow + run.length) stack.wide.push_back(run.wide + *cut - run.narrow);
    if (!stack.wide.empty()) result.push_back(std::move(stack));
  }
  return result;
}

template <class C>
Side<C> make_side(const MoraOperator& op, bool input) {
  using enum OperatorKind;
  Side<C> side;
  side.wide = input ? op.in : op.out;
  side.rank = op.rank;
  side.slots = op.chunks();
  const int64_t chunks = (op.in + op.rank - 1) / op.rank;
  const int64_t narrow = side.slots * op.rank;
  if (op.kind == group || op.kind == (input ? group_sharing : sharing_group)) {
    side.grouped = true;
  } else if (op.kind == truncation) {
    side.direct = stacks({{0, 0, std::min(side.wide, op.rank)}});
  } else if (input && (op.kind == rotation || op.kind == rotation_full)) {
    const int64_t read = op.kind == rotation ? side.slots : chunks;
    for (int64_t c = 0; c < read; ++c) side.rotated.push_back(runs(c * op.rank, (c + 1) * op.rank, op.in, op.rank));
    set_angles(read, side);
  } else if (input) {
    side.direct = stacks(runs(0, op.kind == decouple ? narrow : chunks * op.rank, op.in, narrow));
  } else {
    side.direct = stacks(runs(0, op.out, op.out, narrow));
  }
  int64_t written = side.rotated.empty() ? 0 : narrow;
  for (const Stack& s : side.direct) written += s.length;
  side.covered = side.grouped || written == narrow;
  return side;
}

}  // namespace

template <class C>
std::shared_ptr<const Side<C>> side_of(const MoraOperator& op, bool input) {
  static std::mutex mutex;
  static std::map<std::tuple<OperatorKind, int64_t, int64_t, int64_t, bool>, std::shared_ptr<const Side<C>>> made;
  std::lock_guard lock(mutex);
  auto& side = made[{op.kind, op.in, op.out, op.rank, input}];
  if (!side) side = std::make_shared<const Side<C>>(make_side<C>(op, input));
  return side;
}

template std::shared_ptr<const Side<float>> side_of(const MoraOperator&, bool);
template std::shared_ptr<const Side<double>> side_of(const MoraOperator&, bool);

}  // namespace mora::kernels::cpu
