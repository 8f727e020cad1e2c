// .txt: a document a line.
#include "engine/error.h"
#include "loaders/record_format.h"
#include "loaders/utf8.h"

namespace mora {
namespace {

class Text : public RecordFormat {
 public:
  Text(const DataFile& file, const DataOptions& options) : options_(options) {
    for (const std::string& column : options.columns)
      require<IoError>(column == "text", "{}: no column '{}'; a .txt file has one, 'text': a document a line",
                       file.path(), column);
  }

  bool next(LineReader& lines, Record& record) const override { return next_line(lines, record); }

  std::vector<Field> decode(Record& record) const override {
    std::vector<Field> fields;
    for (const auto* columns : {&options_.columns, &options_.optional}) {
      for (const std::string& column : *columns) {
        if (column == "text")
          fields.push_back({column, Field::Kind::string, replace_invalid_utf8(record.text)});
        else
          fields.push_back({column, Field::Kind::missing, ""});
      }
    }
    return fields;
  }

  std::vector<std::string> names(Record&) const override { return {"text"}; }

 private:
  DataOptions options_;
};

}  // namespace

std::unique_ptr<RecordFormat> open_text(const DataFile& file, const DataOptions& options) {
  return std::make_unique<Text>(file, options);
}

}  // namespace mora
