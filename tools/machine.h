// This machine, as `mora doctor` prints it and a run's summary.json keeps it.
#pragma once

#include <nlohmann/json_fwd.hpp>

namespace mora {

// {"version", "system", "cpu": {"name", "architecture", "processors", "threads", "features", "memory_bytes",
// "available_bytes"}, "cuda": {"available", "reason", and of a card "name", "compute_capability",
// "memory_bytes", "available_bytes"}}
nlohmann::ordered_json describe_machine();

}  // namespace mora
