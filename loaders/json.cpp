#include "loaders/json.h"

#include <algorithm>
#include <functional>
#include <iterator>
#include <nlohmann/json.hpp>
#include <vector>

#include "engine/error.h"
#include "loaders/regular_file.h"

namespace mora {
namespace {

using nlohmann::json;

constexpr size_t kMaxDepth = 128;
constexpr size_t kMaxQuoted = 80;  // bytes of a key that an error repeats

// Walks the text and leaves behind how far the parser has read: the SAX events themselves carry no position.
class TrackedIterator {
 public:
  using iterator_category = std::input_iterator_tag;
  using value_type = char;
  using difference_type = std::ptrdiff_t;
  using pointer = const char*;
  using reference = const char&;

  TrackedIterator(const char* at, const char** reached) : at_(at), reached_(reached) {}
  reference operator*() const { return *at_; }
  TrackedIterator& operator++() {
    *reached_ = ++at_;
    return *this;
  }
  bool operator==(const TrackedIterator& other) const { return at_ == other.at_; }

 private:
  const char* at_;
  const char** reached_;
};

// nlohmann prints "[json.exception.parse_error.101] parse error at line 1, column 2: WHY; last read: 'BYTES'": keeps
// WHY.
std::string reason(std::string what) {
  const size_t column = what.find("column ");
  const size_t start = column == std::string::npos ? what.find("] ") : what.find(": ", column);
  if (start != std::string::npos) what.erase(0, start + 2);
  what.erase(std::min(what.find("; last read"), what.size()));
  if (what.size() > 2 * kMaxQuoted) what.resize(2 * kMaxQuoted);
  return what;
}

// A name from the file, cut and escaped so that it fits in a line.
std::string quoted_name(const std::string& name) {
  return json(name.substr(0, kMaxQuoted)).dump(-1, ' ', true, json::error_handler_t::replace);
}

// Builds the document out of SAX events.
class Builder {
 public:
  using Visit = std::function<void(const std::string&, const json&)>;
  Builder(std::string_view text, std::string_view source, const Visit* visit = nullptr)
      : text_(text), source_(source), reached_(text.data()), visit_(visit) {}

  json parse() {
    TrackedIterator first(text_.data(), &reached_), last(text_.data() + text_.size(), &reached_);
    json::sax_parse(first, last, this);  // every failure throws out of an event
    return std::move(root_);
  }

  bool null() { return add(nullptr); }
  bool boolean(bool value) { return add(value); }
  bool number_integer(json::number_integer_t value) { return add(value); }
  bool number_unsigned(json::number_unsigned_t value) { return add(value); }
  bool number_float(json::number_float_t value, const std::string&) { return add(value); }
  bool string(std::string& value) { return add(std::move(value)); }
  bool binary(json::binary_t& value) { return add(std::move(value)); }
  bool start_object(size_t) { return open(json::object()); }
  bool start_array(size_t) { return open(json::array()); }
  bool end_object() { return close(); }
  bool end_array() { return close(); }

  bool key(std::string& name) {
    auto [entry, inserted] = open_.back()->get_ref<json::object_t&>().try_emplace(name);
    if (!inserted) fail_here("duplicate key " + quoted_name(name));
    if (open_.size() == 1) member_of_root_ = &entry->first;
    member_ = &entry->second;
    return true;
  }

  bool parse_error(size_t, const std::string&, const json::exception& error) {
    fail_here(last_key() + reason(error.what()));
  }

 private:
  [[noreturn]] void fail_here(const std::string& why) const {
    const auto line = 1 + std::count(text_.data(), std::min(reached_, text_.data() + text_.size()), '\n');
    fail<IoError>("{}: line {}: {}", source_, line, why);
  }

  // The key whose value is being read: what an error in it is about.
  std::string last_key() const {
    if (open_.empty() || !open_.back()->is_object()) return "";
    for (const auto& entry : open_.back()->items())
      if (&entry.value() == member_) return quoted_name(entry.key()) + ": ";
    return "";
  }

  json* place(json value) {
    if (open_.empty()) return &(root_ = std::move(value));
    if (open_.back()->is_object()) return &(*member_ = std::move(value));
    return &open_.back()->get_ref<json::array_t&>().emplace_back(std::move(value));
  }

  template <class T>
  bool add(T&& value) {
    json* placed = place(json(std::forward<T>(value)));
    if (open_.size() == 1) give_away(*placed);
    return true;
  }

  bool open(json container) {
    if (open_.size() == kMaxDepth) fail_here(fmt::format("nested more than {} deep", kMaxDepth));
    open_.push_back(place(std::move(container)));
    return true;
  }

  bool close() {
    json* closed = open_.back();
    open_.pop_back();
    if (open_.size() == 1) give_away(*closed);
    return true;
  }

  // A member of the root is complete: its visitor has it, its name stays to be told from the next ones'.
  void give_away(json& value) {
    if (!visit_ || !root_.is_object()) return;
    (*visit_)(*member_of_root_, value);
    value = nullptr;
  }

  std::string_view text_, source_;
  const char* reached_;
  json root_;
  std::vector<json*> open_;  // the containers around the next value, outermost first
  json* member_ = nullptr;   // where the value of the last key goes
  const Visit* visit_;
  const std::string* member_of_root_ = nullptr;
};

void require_text(std::string_view text, std::string_view source) {
  require<IoError>(!text.empty(), "{}: empty, expected JSON", source);
  const bool bom = text.starts_with("\xEF\xBB\xBF") || text.starts_with("\xFF\xFE") || text.starts_with("\xFE\xFF");
  require<IoError>(!bom, "{}: line 1: begins with a byte order mark (BOM); save it as UTF-8 without one", source);
}

}  // namespace

json parse_json(std::string_view text, std::string_view source) {
  require_text(text, source);
  return Builder(text, source).parse();
}

void parse_json_members(std::string_view text, std::string_view source,
                        const std::function<void(const std::string&, const json&)>& visit) {
  require_text(text, source);
  const json root = Builder(text, source, &visit).parse();
  require<IoError>(root.is_object(), "{}: expected an object, got {}", source, root.type_name());
}

json read_json(const std::filesystem::path& file, size_t max_bytes) {
  return parse_json(read_regular_file(file, max_bytes), file.string());
}

}  // namespace mora
