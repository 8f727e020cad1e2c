#include "cuda/training_run.h"
#include "kernels/cuda/simt.h"

namespace mora::test {
void one_order_a_launch(bool one) { simt::emulator::every_order = !one; }
}  // namespace mora::test
