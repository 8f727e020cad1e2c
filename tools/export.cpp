// mora export: an adapter in a form that other tools load.
#include "mora/export.h"

#include <nlohmann/json.hpp>

#include "loaders/staged_directory.h"
#include "mora/models/registry.h"
#include "mora/peft_directory.h"
#include "tools/command.h"

namespace mora {
namespace {

struct Arguments {
  std::string model, adapter, to, out;
  bool without_head = false;
};

// The model that the adapter's directory names, where no other is given.
std::string base_model_of(const Arguments& a) {
  const std::string model = a.model.empty() ? read_adapter_info(a.adapter).base_model : a.model;
  require<ConfigError>(!model.empty(), "{}: does not say which model it belongs to; give it with --model", a.adapter);
  require<ConfigError>(std::filesystem::exists(model), "{}: its model '{}' is not here; give it with --model",
                       a.adapter, model);
  return model;
}

void run(const Arguments& a, Session& session) {
  const std::string path = base_model_of(a);
  require<ConfigError>(!std::filesystem::exists(a.out), "{}: exists already; remove it or choose another name", a.out);
  MoRAModel model(load_model(path));
  AdapterInfo info = load_adapter(a.adapter, model);
  info.base_model = path;
  const bool head = model.classifier() && !a.without_head;
  bool exact = true;
  if (a.to == "peft") {
    StagedDirectory staged(a.out);
    save_peft(staged.path(), model, info, head);
    staged.commit();
  } else {
    require<ConfigError>(!head, "{}: GGUF cannot hold its trained head; export --without-head, or merge", a.adapter);
    exact = save_gguf_lora(a.out, model);
  }
  const size_t tensors = 2 * model.adapted().size() + (head ? 2 : 0);
  session.note(fmt::format("{}: {} tensors{}", a.out, tensors,
                           exact ? "" : "; the modules' scales differ, so B was rescaled with rounding"));
  session.print_result({{"out", a.out}, {"tensors", tensors}, {"exact", exact}});
}

}  // namespace

void add_export(CLI::App& program, Session& session) {
  auto a = std::make_shared<Arguments>();
  CLI::App* command = add_command(program, session, "export", "write an adapter as PEFT or llama.cpp load it",
                                  [a, &session] { run(*a, session); });
  command->add_option("--adapter", a->adapter, "an adapter directory")->required()->type_name("DIR");
  command->add_option("--to", a->to, "peft (a directory) or gguf (a file)")
      ->required()
      ->check(CLI::IsMember({"peft", "gguf"}))
      ->type_name("FORMAT");
  command->add_option("--out", a->out, "what to write")->required()->type_name("PATH");
  command->add_option("--model", a->model, "the model it belongs to (default: the one the adapter names)")
      ->type_name("MODEL");
  command->add_flag("--without-head", a->without_head, "leave a trained classifier out");
}

}  // namespace mora
