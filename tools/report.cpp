// mora report: the page of a run.
#include "mora/report/report.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "tools/command.h"

namespace mora {

void add_report(CLI::App& program, Session& session) {
  auto run = std::make_shared<std::string>();
  CLI::App* command =
      add_command(program, session, "report", "write report.html of a run: one self-contained page", [run, &session] {
        const std::string path = write_report(*run).string();
        if (!session.json) fmt::print("{}\n", path);
        session.print_result({{"path", path}});
      });
  command->add_option("run", *run, "the run directory of mora train")->required()->type_name("RUN");
}

}  // namespace mora
