// Python's arithmetic on template values.
#pragma once

#include "loaders/chat_template/ast.h"

namespace mora::jinja {

// a op b for every operator but `and` and `or`, which do not always look at b. EvalError: types that do not go
// together, division by zero, an integer beyond 64 bits.
Value arithmetic(BinaryOp op, const Value& a, const Value& b, Budget& budget);
Value arithmetic(UnaryOp op, const Value& a);
bool compare(CompareOp op, const Value& a, const Value& b, Budget& budget);

// object[start:stop:step] of a list or string; a bound that is none is left out.
Value slice(const Value& object, const Value& start, const Value& stop, const Value& step, Budget& budget);

}  // namespace mora::jinja
