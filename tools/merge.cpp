// mora merge: an adapter written into its model; or a GGUF file as a Hugging Face directory.
#include "mora/merge.h"

#include <nlohmann/json.hpp>

#include "engine/error.h"
#include "tools/command.h"

namespace mora {
namespace {

struct Arguments {
  std::string model, adapter, out, dtype;
};

void run(const Arguments& a, Session& session) {
  MergeOptions options{.model = a.model, .adapter = a.adapter, .out = a.out};
  require<ConfigError>(a.dtype.empty() || options.model.extension() == ".gguf",
                       "--dtype: {} is a directory, which keeps its dtypes; --dtype is for .gguf files", a.model);
  if (a.dtype == "bf16") options.gguf_dtype = DType::bf16;
  const MergeResult result = merge_adapter(options);
  for (const std::string& line : result.notes) session.note("note: " + line);
  if (!session.json) {
    fmt::print("{}: {} tensors, {} of them merged; largest error against the adapter {:.3g}\n", a.out, result.tensors,
               result.merged, result.max_abs_error);
  }
  session.print_result({{"out", a.out},
                        {"tensors", result.tensors},
                        {"merged", result.merged},
                        {"max_abs_error", result.max_abs_error}});
}

}  // namespace

void add_merge(CLI::App& program, Session& session) {
  auto a = std::make_shared<Arguments>();
  CLI::App* command =
      add_command(program, session, "merge", "write an adapter into its model: a Hugging Face directory of its own",
                  [a, &session] { run(*a, session); });
  command->add_option("--model", a->model, "a Hugging Face directory or a .gguf file")->required()->type_name("MODEL");
  command->add_option("--adapter", a->adapter, "an adapter directory; without one the model is converted as it is")
      ->type_name("DIR");
  command->add_option("--out", a->out, "the directory to make")->required()->type_name("DIR");
  command->add_option("--dtype", a->dtype, "of the weights of a .gguf file: f32 or bf16 (default: f32)")
      ->check(CLI::IsMember({"f32", "bf16"}))
      ->type_name("TYPE");
}

}  // namespace mora
