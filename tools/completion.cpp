// mora completion: shell completion and the man page, made from the options that the commands declare.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "tools/command.h"

namespace mora {
namespace {

std::vector<const CLI::App*> commands_of(const CLI::App& program) {
  return program.get_subcommands([](const CLI::App*) { return true; });
}

// "--model", "--adapter" …
std::vector<std::string> options_of(const CLI::App& command) {
  std::vector<std::string> names;
  for (const CLI::Option* option : command.get_options())
    for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
  return names;
}

std::string bash(const CLI::App& program) {
  std::vector<std::string> names;
  std::string cases;
  for (const CLI::App* command : commands_of(program)) {
    names.push_back(command->get_name());
    cases += fmt::format("    {}) words=\"{}\" ;;\n", command->get_name(), fmt::join(options_of(*command), " "));
  }
  return fmt::format(
      "# mora completion bash > /etc/bash_completion.d/mora\n"
      "_mora() {{\n"
      "  local word=${{COMP_WORDS[COMP_CWORD]}} words\n"
      "  [ \"$COMP_CWORD\" -gt 1 ] || {{ COMPREPLY=($(compgen -W \"{}\" -- \"$word\")); return; }}\n"
      "  case ${{COMP_WORDS[1]}} in\n{}  esac\n"
      "  case $word in\n"
      "    -*) COMPREPLY=($(compgen -W \"$words\" -- \"$word\")) ;;\n"
      "    *) compopt -o default; COMPREPLY=() ;;\n"
      "  esac\n"
      "}}\n"
      "complete -F _mora mora\n",
      fmt::join(names, " "), cases);
}

// Text inside the single quotes and brackets of zsh's _arguments.
std::string zsh_text(const std::string& text) {
  std::string safe;
  for (const char c : text) {
    if (c == '\'')
      safe += "'\\''";
    else
      safe += c == '[' || c == ']' || c == ':' ? fmt::format("\\{}", c) : std::string(1, c);
  }
  return safe;
}

std::string zsh(const CLI::App& program) {
  std::string names, cases;
  for (const CLI::App* command : commands_of(program)) {
    names += fmt::format("    '{}:{}'\n", command->get_name(), zsh_text(command->get_description()));
    cases += fmt::format("    {}) _arguments", command->get_name());
    for (const CLI::Option* option : command->get_options())
      for (const std::string& name : option->get_lnames())
        cases += fmt::format(" \\\n      '--{}[{}]{}'", name, zsh_text(option->get_description()),
                             option->get_expected_min() > 0 ? ":value:_files" : "");
    cases += " \\\n      '*:file:_files' ;;\n";
  }
  return fmt::format(
      "#compdef mora\n"
      "# mora completion zsh > a directory of $fpath, as _mora\n"
      "local -a commands=(\n{})\n"
      "if (( CURRENT == 2 )); then _describe command commands; return; fi\n"
      "local command=$words[2]\n"
      "shift words; (( CURRENT-- ))\n"
      "case $command in\n{}esac\n",
      names, cases);
}

// Text of a man page: no line may begin a request, a backslash is \e, a hyphen of an option \-.
std::string roff(const std::string& text) {
  std::string safe;
  for (const char c : text) safe += c == '\\' ? "\\e" : c == '-' ? "\\-" : std::string(1, c);
  return safe.starts_with('.') || safe.starts_with('\'') ? "\\&" + safe : safe;
}

std::string man(const CLI::App& program) {
  std::string page = fmt::format(
      ".TH MORA 1 \"\" \"mora {}\"\n.SH NAME\nmora \\- fine-tunes pre-trained transformers\n"
      ".SH SYNOPSIS\n.B mora\n.I COMMAND\n[options]\n.SH DESCRIPTION\n{}\n"
      "Data goes to stdout, progress and notes to stderr.\n.SH COMMANDS\n",
      MORA_VERSION, roff(program.get_description()));
  for (const CLI::App* command : commands_of(program)) {
    page += fmt::format(".SS {}\n{}\n", roff("mora " + command->get_name()), roff(command->get_description()));
    for (const CLI::Option* option : command->get_options()) {
      const std::string name = option->get_positional() ? option->get_name(true) : option->get_name();
      const std::string type =
          option->get_expected_min() > 0 && !option->get_positional() ? " " + option->get_type_name() : "";
      page += fmt::format(".TP\n.B {}\n{}\n", roff(name + type), roff(option->get_description()));
    }
  }
  return page + ".SH EXIT STATUS\n0 done, 1 failed, 2 wrong usage, 130 and 143 after SIGINT and SIGTERM.\n";
}

}  // namespace

void add_completion(CLI::App& program, Session& session) {
  auto kind = std::make_shared<std::string>();
  CLI::App* command =
      add_command(program, session, "completion", "print shell completion or the man page", [kind, &program] {
        const auto make = *kind == "bash" ? bash : *kind == "zsh" ? zsh : man;
        fmt::print("{}", make(program));
      });
  command->add_option("kind", *kind, "bash, zsh or man")
      ->required()
      ->check(CLI::IsMember({"bash", "zsh", "man"}))
      ->type_name("KIND");
}

}  // namespace mora
