// A file system that fails on demand and a disk that loses power: what the program's own definitions of open, write,
// fsync … (file_system.cpp) see of one directory, before libc does it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

namespace mora::test {

// A call that changed something below the watched directory; paths are relative to it and as they were at that time.
struct FileOperation {
  enum class Kind { make_file, write, sync, rename, remove, make_directory } kind;
  std::filesystem::path path, to;  // `to` of a rename
  std::string data;                // of a write, appended to the file
};

// Watches a directory as long as it lives; one at a time. Watched syncs only count, which keeps the tests fast.
class FileSystemShim {
 public:
  explicit FileSystemShim(std::filesystem::path root);
  ~FileSystemShim();
  FileSystemShim(const FileSystemShim&) = delete;

  // The n-th call from now on (from 1; 0: none), and with `and_all_after` those after it, fail with `error` and do
  // nothing.
  void fail(int64_t n, bool and_all_after, int error);
  bool has_failed() const { return failed_; }
  const std::vector<FileOperation>& operations() const { return operations_; }

  // For the intercepted calls: whether this one is below the root and fails (with errno set), and what it did.
  bool watches(const std::filesystem::path& path) const;
  bool fails();
  void did(FileOperation operation);

 private:
  std::filesystem::path root_;
  std::vector<FileOperation> operations_;
  int64_t calls_ = 0, first_failure_ = 0;
  bool and_all_after_ = false, failed_ = false;
  int error_ = 0;
};

// What a disk holds after operations, and after a power cut, by how much of what was not synced is lost.
class Disk {
 public:
  explicit Disk(const std::filesystem::path& directory);  // all of it is synced
  void apply(const FileOperation& operation);

  enum class PowerCut {
    kept,       // none: the process was killed
    dropped,    // all: names and contents are what was synced last
    torn,       // names are all there, contents that were not synced are cut in half
    reordered,  // of each directory some changes of names, of each file none, half or all of what was not synced
  };
  void write(const std::filesystem::path& to, PowerCut cut, std::mt19937_64& random) const;

 private:
  struct Node;
  using Names = std::map<std::string, std::shared_ptr<Node>>;
  using Change = std::vector<std::pair<std::string, std::shared_ptr<Node>>>;  // null: the name goes
  struct Node {
    bool directory = false;
    std::string content;  // the first `synced` bytes are on the disk
    size_t synced = 0;
    Names names, synced_names;
    std::vector<Change> changes;  // of names, since the last sync
  };
  static std::shared_ptr<Node> read(const std::filesystem::path& path);
  static void write(const Node& node, const std::filesystem::path& to, PowerCut cut, std::mt19937_64& random);
  Node& at(const std::filesystem::path& path) const;
  void change(const std::filesystem::path& directory, Change change);

  std::shared_ptr<Node> root_;
};

}  // namespace mora::test
