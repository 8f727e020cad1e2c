// mora compare: runs side by side, as a table and as a page.
#include <nlohmann/json.hpp>

#include "engine/error.h"
#include "mora/report/report.h"
#include "tools/command.h"
#include "tools/run_table.h"

namespace mora {
namespace {

using Json = nlohmann::ordered_json;

struct Arguments {
  std::vector<std::string> runs;
  std::string out;
};

void run(const Arguments& a, const Session& session) {
  require<ConfigError>(a.runs.size() >= 2, "compare: one run; name two or more (mora report shows one)");
  std::vector<Json> runs, rows;
  for (const std::string& path : a.runs) {
    runs.push_back(read_run(path));
    rows.push_back(summary_of(runs.back()));
  }
  write_page(a.out, runs);
  if (!session.json) print_table(rows);
  session.note(a.out);
  session.print_result({{"path", a.out}, {"runs", rows}});
}

}  // namespace

void add_compare(CLI::App& program, Session& session) {
  auto a = std::make_shared<Arguments>();
  a->out = "compare.html";
  CLI::App* command = add_command(program, session, "compare", "show runs side by side: a table, and a page",
                                  [a, &session] { run(*a, session); });
  command->add_option("runs", a->runs, "run directories of mora train, two or more")->required()->type_name("RUN");
  command->add_option("--out", a->out, "the page (default: compare.html)")->type_name("FILE.html");
}

}  // namespace mora
