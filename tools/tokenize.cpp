// mora tokenize: lines of text to lines of ids, and back.
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>

#include "engine/error.h"
#include "loaders/json.h"
#include "loaders/model_text.h"
#include "tools/command.h"

namespace mora {
namespace {

struct TokenizeOptions {
  std::string model;
  bool no_special = false, decode = false;
};

std::vector<int32_t> parse_ids(const std::string& line, const std::string& place) {
  const nlohmann::json json = parse_json(line, place);
  require<IoError>(json.is_array(), "{}: expected a JSON array of ids", place);
  std::vector<int32_t> ids;
  for (const auto& id : json) {
    require<IoError>(id.is_number_unsigned() && id.get<uint64_t>() <= 0x7fffffff, "{}: '{}' is no id", place,
                     id.dump());
    ids.push_back(id.get<int32_t>());
  }
  return ids;
}

void tokenize(const TokenizeOptions& options) {
  const Tokenizer tokenizer = load_tokenizer(options.model);
  std::ios::sync_with_stdio(false);
  int64_t number = 0;
  for (std::string line; std::getline(std::cin, line);) {  // a line ends at \n and nowhere else
    ++number;
    if (options.decode)
      std::cout << tokenizer.decode(parse_ids(line, "standard input:" + std::to_string(number))) << '\n';
    else
      std::cout << nlohmann::json(tokenizer.encode(line, !options.no_special)).dump() << '\n';
  }
  require<IoError>(!std::cin.bad(), "standard input: cannot be read");
  std::cout.flush();
  require<IoError>(std::cout.good(), "standard output: cannot be written");
}

}  // namespace

void add_tokenize(CLI::App& program, Session& session) {
  const auto options = std::make_shared<TokenizeOptions>();
  CLI::App* command =
      add_command(program, session, "tokenize", "turn lines of stdin into JSON arrays of token ids, or back",
                  [options] { tokenize(*options); });
  command->add_option("--model", options->model, "Hugging Face directory, its tokenizer.json, or a .gguf file")
      ->required()
      ->type_name("MODEL");
  command->add_flag("--no-special", options->no_special, "leave out special tokens such as [CLS] and <s>");
  command->add_flag("--decode", options->decode, "read JSON arrays of ids and write text, without special tokens");
}

}  // namespace mora
