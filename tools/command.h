// What all sub-commands share. A sub-command is one file with one function add_NAME, listed in main.cpp: it declares
// its options and says what to run.
//
//   data goes to stdout, progress and notes to stderr; exit codes: 0 done, 1 failed (one line "error: …"), 2 wrong
//   usage, 130 and 143 after SIGINT and SIGTERM
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "engine/device.h"

namespace mora {

// The options every sub-command has, and the one that was chosen.
struct Session {
  bool json = false;
  bool quiet = false;
  int threads = 0;  // 0: as many as the machine has
  std::string device_word = "cpu";
  Device device = cpu;  // that word
  std::function<void()> run;
  int exit_code = 0;  // of a command that ended well: 130 and 143 after a signal it obeyed

  // With --json, the last line of stdout.
  void print_result(const nlohmann::ordered_json& result) const;
  void note(const std::string& line) const;  // to stderr, unless --quiet
};

// A sub-command with the common options; `run` is called after the whole command line has been read. `devices`: whether
// it takes another --device than cpu.
enum class Devices { processor, all };
CLI::App* add_command(CLI::App& program, Session& session, const std::string& name, const std::string& summary,
                      std::function<void()> run, Devices devices = Devices::processor);

// Checks of an option's number, with what is expected in words.
CLI::Validator at_least(int64_t least);
CLI::Validator above_zero();

void add_init(CLI::App& program, Session& session);
void add_train(CLI::App& program, Session& session);
void add_eval(CLI::App& program, Session& session);
void add_predict(CLI::App& program, Session& session);
void add_forward(CLI::App& program, Session& session);
void add_generate(CLI::App& program, Session& session);
void add_chat(CLI::App& program, Session& session);
void add_serve(CLI::App& program, Session& session);
void add_merge(CLI::App& program, Session& session);
void add_combine(CLI::App& program, Session& session);
void add_export(CLI::App& program, Session& session);
void add_report(CLI::App& program, Session& session);
void add_compare(CLI::App& program, Session& session);
void add_sweep(CLI::App& program, Session& session);
void add_preview(CLI::App& program, Session& session);
void add_plan(CLI::App& program, Session& session);
void add_sharpness(CLI::App& program, Session& session);
void add_meta_train(CLI::App& program, Session& session);
void add_adapt(CLI::App& program, Session& session);
void add_tokenize(CLI::App& program, Session& session);
void add_inspect(CLI::App& program, Session& session);
void add_doctor(CLI::App& program, Session& session);
void add_bench(CLI::App& program, Session& session);
void add_config_reference(CLI::App& program, Session& session);
void add_completion(CLI::App& program, Session& session);

}  // namespace mora
