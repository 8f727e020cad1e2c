// One side of a MoRA operator as a list of what belongs together, which kernels/cpu/operator_rows.h follows for each
// token.
#pragma once

#include <memory>
#include <vector>

#include "kernels/mora_operator.h"

namespace mora::kernels::cpu {

// wide[wide + i] belongs to narrow[narrow + i], i < length. Wide is a token's k inputs or d outputs.
struct Run {
  int64_t wide, narrow, length;
};

// wide[w + i] of each w belongs to narrow[narrow + i], i < length: summed in registers, stored once.
struct Stack {
  int64_t narrow, length;
  std::vector<int64_t> wide;
};

// One side of an operator: C between x (k) and s, or D between z and y (d).
template <class C>
struct Side {
  bool grouped = false;
  int64_t wide = 0, rank = 0;
  int64_t slots = 1;                      // rows of r̂ of the narrow side
  std::vector<Stack> direct;              // neither grouped nor rotated
  std::vector<std::vector<Run>> rotated;  // the runs of each rotated chunk
  std::vector<C> cos, sin;                // of c·10000^(−2j/r̂), (chunks, r̂/2) each
  bool covered = false;                   // every element of the narrow side has one on the wide side
};

// C's side (of x) or D's, made once for an operator. C: float or double.
template <class C>
std::shared_ptr<const Side<C>> side_of(const MoraOperator& op, bool input);

}  // namespace mora::kernels::cpu
