// The page that shows a run, or several side by side: one self-contained HTML file without any request, drawn in the
// browser from the JSON that it carries. The page itself is mora/report/page/ (HTML, CSS, script), embedded at build.
//
// A run is read from its directory: metrics.jsonl, config.yaml, and where they are there valid.jsonl (predictions of
// the last evaluation), summary.json (result and environment) and the labels of adapter/.
#pragma once

#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <span>

namespace mora {

// What the page shows of one run. Throws IoError where `run` holds no metrics.jsonl, or a file of it is damaged.
//
//   name, command, config (YAML text), result, environment, labels
//   updates      a column each: {"step": […], "loss": […], "lr": […], …}; null where a line lacks the field
//   valid        [{"step", "loss", …metrics}]           events   [{"step", "kind", …}]
//   calibration  ten ranges of confidence: [{"from", "to", "rows", "confidence", "accuracy"}], the empty ones left out
//   hardest      the rows of valid.jsonl with the largest losses, largest first
nlohmann::ordered_json read_run(const std::filesystem::path& run);

// Writes `file`, durably, from what read_run gave.
void write_page(const std::filesystem::path& file, std::span<const nlohmann::ordered_json> runs);

// RUN/report.html; gives its path.
std::filesystem::path write_report(const std::filesystem::path& run);

}  // namespace mora
