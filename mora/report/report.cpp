#include "mora/report/report.h"

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "engine/error.h"
#include "loaders/durable_file.h"
#include "mora/report/page.h"

namespace mora {
namespace {

using Json = nlohmann::ordered_json;

void replace(std::string& text, std::string_view mark, std::string_view with) {
  const size_t at = text.find(mark);
  invariant(at != std::string::npos, "report: the page has no {}", mark);
  text.replace(at, mark.size(), with);
}

// JSON that can stand in a <script>: no "<" may begin a tag.
std::string script_json(const Json& json) {
  std::string safe;
  for (const char c : json.dump(-1, ' ', false, Json::error_handler_t::replace)) {
    if (c == '<')
      safe += "\\u003c";
    else
      safe += c;
  }
  return safe;
}

}  // namespace

void write_page(const std::filesystem::path& file, std::span<const Json> runs) {
  Json data = {{"runs", Json::array()}};
  for (const Json& run : runs) data["runs"].push_back(run);
  std::string page(page::html);
  replace(page, "/*STYLE*/", page::style);
  replace(page, "/*SCRIPT*/", std::string(page::charts) + std::string(page::script));
  replace(page, "/*DATA*/", script_json(data));  // last: it may hold anything
  write_durable(file, page);
}

std::filesystem::path write_report(const std::filesystem::path& run) {
  const Json data = read_run(run);
  write_page(run / "report.html", std::span(&data, 1));
  return run / "report.html";
}

}  // namespace mora
