#include "kernels/mora_operator.h"

namespace mora::kernels {

int64_t MoraOperator::chunks() const {
  switch (kind) {
    case OperatorKind::decouple:
    case OperatorKind::rotation:
    case OperatorKind::rotation_full: return std::min((in + rank - 1) / rank, (out + rank - 1) / rank);
    default: return 1;
  }
}

void MoraOperator::check() const {
  require<ShapeError>(in > 0 && out > 0 && rank > 0, "mora: an operator of {} inputs, {} outputs and rank {}", in, out,
                      rank);
  const bool rotates = kind == OperatorKind::rotation || kind == OperatorKind::rotation_full;
  require<ShapeError>(!rotates || rank % 2 == 0, "mora: a rotation of rank {}: expected an even rank", rank);
}

}  // namespace mora::kernels
