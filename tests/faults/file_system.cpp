#include "faults/file_system.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdarg>
#include <cstdio>

#include "loaders/temporary_directory.h"

namespace mora::test {
namespace {

namespace fs = std::filesystem;
using Kind = FileOperation::Kind;

FileSystemShim* active = nullptr;

template <class Function>
Function* next(const char* name) {
  return reinterpret_cast<Function*>(::dlsym(RTLD_NEXT, name));
}

fs::path path_of(int fd) {
  char text[4096];
  const ssize_t length = ::readlink(("/proc/self/fd/" + std::to_string(fd)).c_str(), text, sizeof text);
  return length < 0 ? fs::path() : fs::path(std::string(text, static_cast<size_t>(length)));
}

// Runs `call`, which gives a negative number where it fails, unless the shim watches `path` and lets it fail.
template <class Call>
auto watched(const fs::path& path, Call call, FileOperation operation) -> decltype(call()) {
  if (!active || !active->watches(path)) return call();
  if (active->fails()) return -1;
  const auto result = call();
  if (result >= 0) active->did(std::move(operation));
  return result;
}

}  // namespace

FileSystemShim::FileSystemShim(fs::path root) : root_(std::move(root)) { active = this; }
FileSystemShim::~FileSystemShim() { active = nullptr; }

void FileSystemShim::fail(int64_t n, bool and_all_after, int error) {
  calls_ = 0;
  first_failure_ = n;
  and_all_after_ = and_all_after;
  error_ = error;
}

bool FileSystemShim::watches(const fs::path& path) const {
  return path.string().starts_with(root_.string() + "/") || path == root_;
}

bool FileSystemShim::fails() {
  ++calls_;
  if (calls_ != first_failure_ && !(and_all_after_ && calls_ > first_failure_)) return false;
  errno = error_;
  return failed_ = true;
}

void FileSystemShim::did(FileOperation operation) {
  operation.path = operation.path.lexically_relative(root_);
  if (!operation.to.empty()) operation.to = operation.to.lexically_relative(root_);
  operations_.push_back(std::move(operation));
}

Disk::Disk(const fs::path& directory) : root_(read(directory)) {}

std::shared_ptr<Disk::Node> Disk::read(const fs::path& path) {
  auto node = std::make_shared<Node>();
  node->directory = fs::is_directory(path);
  if (node->directory) {
    for (const auto& entry : fs::directory_iterator(path)) node->names[entry.path().filename()] = read(entry.path());
    node->synced_names = node->names;
  } else {
    node->content = read_bytes(path);
    node->synced = node->content.size();
  }
  return node;
}

Disk::Node& Disk::at(const fs::path& path) const {
  Node* node = root_.get();
  for (const fs::path& name : path)
    if (name != "." && !name.empty()) node = node->names.at(name).get();
  return *node;
}

void Disk::change(const fs::path& directory, Change change) {
  Node& node = at(directory);
  const auto set = [](Names& names, const Change& to) {
    for (const auto& [name, target] : to) {
      names.erase(name);
      if (target) names[name] = target;
    }
  };
  set(node.names, change);
  node.changes.push_back(std::move(change));
}

void Disk::apply(const FileOperation& o) {
  const fs::path parent = o.path.parent_path();
  const std::string name = o.path.filename();
  auto fresh = std::make_shared<Node>();
  switch (o.kind) {
    case Kind::make_directory: fresh->directory = true; [[fallthrough]];
    case Kind::make_file: return change(parent, {{name, fresh}});
    case Kind::remove: return change(parent, {{name, nullptr}});
    case Kind::rename: return change(parent, {{name, nullptr}, {o.to.filename(), at(parent).names.at(name)}});
    case Kind::write: at(o.path).content += o.data; return;
    case Kind::sync: break;
  }
  Node& node = at(o.path);
  node.synced = node.content.size();
  node.synced_names = node.names;
  node.changes.clear();
}

void Disk::write(const fs::path& to, PowerCut cut, std::mt19937_64& random) const { write(*root_, to, cut, random); }

void Disk::write(const Node& node, const fs::path& to, PowerCut cut, std::mt19937_64& random) {
  if (!node.directory) {
    const size_t lost = node.content.size() - node.synced, half = node.content.size() - lost / 2;
    const size_t kept[] = {node.content.size(), node.synced, half};
    std::ofstream(to, std::ios::binary) << node.content.substr(0, kept[cut == PowerCut::reordered ? random() % 3
                                                                       : cut == PowerCut::torn    ? 2
                                                                                                  : size_t(cut)]);
    return;
  }
  Names names = cut == PowerCut::kept || cut == PowerCut::torn ? node.names : node.synced_names;
  if (cut == PowerCut::reordered) {
    for (const Change& change : node.changes) {
      if (random() % 2) continue;
      for (const auto& [name, target] : change) {
        names.erase(name);
        if (target) names[name] = target;
      }
    }
  }
  fs::create_directories(to);
  for (const auto& [name, child] : names) write(*child, to / name, cut, random);
}

}  // namespace mora::test

// The program's own definitions stand before libc's, also for what libstdc++ calls.
extern "C" {

using mora::test::FileOperation;
using mora::test::next;
using mora::test::watched;
using Kind = FileOperation::Kind;

int open(const char* path, int flags, ...) {
  va_list rest;
  va_start(rest, flags);
  const mode_t mode = flags & O_CREAT ? va_arg(rest, mode_t) : 0;
  va_end(rest);
  const auto call = [&] { return next<int(const char*, int, ...)>("open")(path, flags, mode); };
  if (!(flags & O_CREAT) || ::access(path, F_OK) == 0) return call();
  return watched(path, call, {Kind::make_file, path, {}, {}});
}

ssize_t write(int fd, const void* data, size_t bytes) {
  const auto call = [&] { return next<ssize_t(int, const void*, size_t)>("write")(fd, data, bytes); };
  if (!mora::test::active) return call();
  const auto path = mora::test::path_of(fd);
  return watched(path, call, {Kind::write, path, {}, std::string(static_cast<const char*>(data), bytes)});
}

int fsync(int fd) {
  const auto path = mora::test::active ? mora::test::path_of(fd) : std::filesystem::path();
  if (path.empty() || !mora::test::active->watches(path)) return next<int(int)>("fsync")(fd);
  return watched(path, [] { return 0; }, {Kind::sync, path, {}, {}});
}

int rename(const char* from, const char* to) noexcept {
  const auto call = [&] { return next<int(const char*, const char*)>("rename")(from, to); };
  return watched(from, call, {Kind::rename, from, to, {}});
}

int unlink(const char* path) noexcept {
  return watched(path, [&] { return next<int(const char*)>("unlink")(path); }, {Kind::remove, path, {}, {}});
}

int unlinkat(int directory, const char* name, int flags) noexcept {
  const auto call = [&] { return next<int(int, const char*, int)>("unlinkat")(directory, name, flags); };
  const std::filesystem::path path =
      directory == AT_FDCWD || *name == '/' ? name : mora::test::path_of(directory) / name;
  return watched(path, call, {Kind::remove, path, {}, {}});
}

int remove(const char* path) noexcept {
  return watched(path, [&] { return next<int(const char*)>("remove")(path); }, {Kind::remove, path, {}, {}});
}

int mkdir(const char* path, mode_t mode) noexcept {
  const auto call = [&] { return next<int(const char*, mode_t)>("mkdir")(path, mode); };
  return watched(path, call, {Kind::make_directory, path, {}, {}});
}

}  // extern "C"
