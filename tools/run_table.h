// Runs as the rows of a table.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <span>

namespace mora {

// What the table has of a run that read_run gave: its name, updates, seconds, last training loss and the best of each
// validation metric; null where the run has not got it.
nlohmann::ordered_json summary_of(const nlohmann::ordered_json& run);

// To stdout, aligned: text left, numbers right. A column that no row fills is left out; all rows have the same keys.
void print_table(std::span<const nlohmann::ordered_json> rows);

}  // namespace mora
