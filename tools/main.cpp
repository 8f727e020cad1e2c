// The `mora` command: reads the command line, runs one sub-command, turns what goes wrong into one line and an exit
// code.
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <new>
#include <nlohmann/json.hpp>

#include "engine/cuda.h"
#include "engine/device.h"
#include "engine/error.h"
#include "engine/parallel.h"
#include "loaders/nearest.h"
#include "tools/command.h"

namespace mora {
namespace {

constexpr int kFailed = 1, kWrongUsage = 2;

struct WrongUsage : Error {
  using Error::Error;
};

// The sub-command that was named, or the program itself.
const CLI::App& chosen(const CLI::App& program) {
  const auto commands = program.get_subcommands();
  return commands.empty() ? program : *commands.front();
}

std::string usage(const CLI::App& program) {
  const CLI::App& command = chosen(program);
  if (&command == &program) return "usage: mora COMMAND [options]; `mora --help` lists the commands";
  std::string line = "usage: mora " + command.get_name();
  for (const CLI::Option* option : command.get_options()) {
    if (option->get_positional())
      line += (option->get_required() ? " " : " [") + option->get_name(true) + (option->get_required() ? "" : "]");
    else if (option->get_required())
      line += " " + option->get_name() + " " + option->get_type_name();
  }
  return line + " [options]; `mora " + command.get_name() + " --help` lists them";
}

std::string did_you_mean(const std::string& word, const std::vector<std::string>& known) {
  const std::string nearest = nearest_name(word, known);
  return nearest.empty() ? "" : "; did you mean '" + nearest + "'?";
}

// Words that no option or sub-command took.
void refuse_extras(const CLI::App& program) {
  const CLI::App& command = chosen(program);
  for (const std::string& word : program.remaining(true)) {
    std::vector<std::string> known;
    if (word.starts_with("-")) {
      for (const CLI::Option* option : command.get_options())
        for (const std::string& name : option->get_lnames()) known.push_back("--" + name);
      fail<WrongUsage>("unknown option '{}'{}", word, did_you_mean(word, known));
    }
    if (&command != &program) fail<WrongUsage>("unexpected argument '{}'", word);
    for (const CLI::App* sub : program.get_subcommands([](const CLI::App*) { return true; }))
      known.push_back(sub->get_name());
    fail<WrongUsage>("unknown command '{}'{}", word, did_you_mean(word, known));
  }
}

void start(Session& session) {
  if (session.threads > 0) set_threads(session.threads);
  session.device = cuda::usable_device(session.device_word, "--device");
}

// Until a command installs its own: the exit code of a shell's child that a signal ended.
void exit_on_signals() {
  for (int signal : {SIGINT, SIGTERM}) std::signal(signal, [](int number) { _exit(128 + number); });
}

// OpenMP's threads spin between parallel regions, by default for milliseconds: on a machine that does other work too,
// they then take from each other the time they wait for (measured under load: 8 ms a region, a tenth of the speed).
// libgomp reads its settings before main, so the program starts itself once more with a short spin.
void let_threads_park(char** argv) {
  if (std::getenv("GOMP_SPINCOUNT") || std::getenv("OMP_WAIT_POLICY")) return;
  setenv("GOMP_SPINCOUNT", "10000", 1);
  execv("/proc/self/exe", argv);  // returns only where /proc is not mounted: then they spin
}

int report(const char* message, int code) {
  std::fflush(stdout);
  std::fprintf(stderr, "error: %s\n", message);
  return code;
}

constexpr const char* kOutOfMemory = "out of memory; `mora plan CONFIG` says what a training run needs";

// Where a destructor of a library asks for memory and there is none (nlohmann/json's and yaml-cpp's do), C++ knows no
// way on: the same line and exit code then, and files as after a kill.
void report_exhausted_memory_at_the_end() {
  static const std::terminate_handler otherwise = std::get_terminate();
  std::set_terminate([] {
    try {
      if (const std::exception_ptr error = std::current_exception()) std::rethrow_exception(error);
    } catch (const std::bad_alloc&) {
      _exit(report(kOutOfMemory, kFailed));
    } catch (...) {
    }
    otherwise();
  });
}

int run(int argc, char** argv) {
  CLI::App program("MoRA fine-tunes pre-trained transformers: one binary, no Python.", "mora");
  Session session;
  program.set_version_flag("--version", "mora " MORA_VERSION, "print the version");
  program.require_subcommand(0, 1);
  program.allow_extras();
  for (const auto add : {add_init,      add_train,    add_eval,    add_predict, add_forward,   add_generate,
                         add_chat,      add_serve,    add_merge,   add_combine, add_export,    add_report,
                         add_compare,   add_sweep,    add_preview, add_plan,    add_sharpness, add_meta_train,
                         add_adapt,     add_tokenize, add_inspect, add_doctor,  add_bench,     add_config_reference,
                         add_completion})
    add(program, session);

  try {
    try {
      program.parse(argc, argv);
    } catch (const CLI::Success& help) {  // --help, --version
      return program.exit(help);
    } catch (const CLI::ParseError& error) {
      refuse_extras(program);  // a misspelt option is the likelier cause than the one that is missing
      const bool number = dynamic_cast<const CLI::ConversionError*>(&error) != nullptr;
      fail<WrongUsage>("{}{}", error.what(), number ? ": a number is expected" : "");
    }
    refuse_extras(program);
    require<WrongUsage>(static_cast<bool>(session.run), "no command given");
  } catch (const WrongUsage& error) {
    report(error.what(), kWrongUsage);
    std::fprintf(stderr, "%s\n", usage(program).c_str());
    return kWrongUsage;
  }
  start(session);
  session.run();
  require<IoError>(std::fflush(stdout) == 0 && std::ferror(stdout) == 0, "standard output: cannot be written");
  return session.exit_code;
}

}  // namespace

void Session::print_result(const nlohmann::ordered_json& result) const {
  if (json) std::printf("%s\n", result.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace).c_str());
}

void Session::note(const std::string& line) const {
  if (!quiet) std::fprintf(stderr, "%s\n", line.c_str());
}

CLI::App* add_command(CLI::App& program, Session& session, const std::string& name, const std::string& summary,
                      std::function<void()> run, Devices devices) {
  CLI::App* command = program.add_subcommand(name, summary);
  command->add_flag("--json", session.json, "end stdout with one line: the result as a JSON object");
  command->add_flag("--quiet", session.quiet, "no progress and no notes");
  command->add_option("--threads", session.threads, "threads to use (default: all of the machine's)")
      ->check(CLI::Range(1, 4096))
      ->type_name("N");
  command->add_option("--device", session.device_word, "cpu, cuda or cuda:1 (default: cpu)")->type_name("DEVICE");
  command->allow_extras();
  command->callback([&session, name, devices, run = std::move(run)] {
    session.run = [&session, name, devices, run] {
      require<DeviceError>(devices == Devices::all || session.device == cpu,
                           "--device {}: mora {} works on the processor; leave --device out", session.device_word,
                           name);
      run();
    };
  });
  return command;
}

CLI::Validator at_least(int64_t least) {
  return {[least](const std::string& word) -> std::string {
            int64_t value = 0;
            if (CLI::detail::lexical_cast(word, value) && value >= least) return "";
            return fmt::format("expected an integer of at least {}, got '{}'", least, word);
          },
          ""};
}

CLI::Validator above_zero() {
  return {[](const std::string& word) -> std::string {
            double value = 0;
            if (CLI::detail::lexical_cast(word, value) && value > 0) return "";
            return fmt::format("expected a number above 0, got '{}'", word);
          },
          ""};
}

}  // namespace mora

int main(int argc, char** argv) {
  mora::let_threads_park(argv);
  mora::exit_on_signals();
  mora::report_exhausted_memory_at_the_end();
  try {
    return mora::run(argc, argv);
  } catch (const std::bad_alloc&) {
    return mora::report(mora::kOutOfMemory, mora::kFailed);
  } catch (const std::exception& error) {
    return mora::report(error.what(), mora::kFailed);
  }
}
